//! Which columns a list of names means: by full name, by a part of a nested path, and with `*`.

/// A listed name, cut into the parts of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    whole: String,
    parts: Vec<String>,
}

/// A list of names. One means a column when its parts stand one after another anywhere in the column's path, whatever
/// elements of arrays lie between, or when it is the column's whole name; `*` stands for any characters, and capitals do
/// not matter. So `customer` means `customer`, `order.customer.name`, `/customer/age`, `customer[3]` and `Customer`, and
/// `*_id` means `user_id`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields(Vec<Pattern>);

/// What stands between the parts of a path: of names with dots, of JSON pointers, of elements of a vector.
fn is_separator(c: char) -> bool {
    matches!(c, '.' | '/' | '[' | ']' | '#')
}

fn parts(name: &str) -> impl Iterator<Item = &str> + Clone {
    name.split(is_separator).filter(|part| !part.is_empty())
}

fn is_index(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether `text` is `pattern`, in which `*` stands for any characters; without regard to ASCII capitals.
fn is_like(pattern: &str, text: &str) -> bool {
    if !pattern.contains('*') {
        return pattern.eq_ignore_ascii_case(text);
    }
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last `*` does not fit: one more character belongs to it.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p + 1, t));
            p += 1;
        } else if pattern.get(p).is_some_and(|c| c.eq_ignore_ascii_case(&text[t])) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((after, taken)) = retry {
            retry = Some((after, taken + 1));
            (p, t) = (after, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

impl Pattern {
    fn matches(&self, name: &str) -> bool {
        if is_like(&self.whole, name) {
            return true;
        }
        let without_elements = || parts(name).filter(|part| !is_index(part));
        self.stands_in(parts(name)) || self.parts.len() > 1 && self.stands_in(without_elements())
    }

    /// Whether its parts stand one after another in `path`.
    fn stands_in<'n>(&self, mut path: impl Iterator<Item = &'n str> + Clone) -> bool {
        loop {
            let mut here = path.clone();
            if !self.parts.is_empty()
                && self.parts.iter().all(|wanted| here.next().is_some_and(|part| is_like(wanted, part)))
            {
                return true;
            }
            if path.next().is_none() {
                return false;
            }
        }
    }
}

impl Fields {
    /// The list of these names; spaces around them do not count.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n String>) -> Self {
        let pattern = |name: &String| Pattern {
            whole: name.trim().to_owned(),
            parts: parts(name.trim()).map(str::to_owned).collect(),
        };
        Self(names.into_iter().map(pattern).collect())
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a listed name means the column `name`; without an allocation.
    pub fn matches(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(names: &[&str]) -> Fields {
        Fields::new(&names.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn a_name_means_columns_by_full_name_part_of_a_path_and_star() {
        let cases: [(&str, &[&str], &[&str]); 10] = [
            (
                "customer",
                &[
                    "customer",
                    "Customer",
                    "a.customer",
                    "customer.name",
                    "/customer/0/age",
                    "customer[3]",
                    "customer#2",
                ],
                &["customers", "customer_id", "custom", "", "a-customer"],
            ),
            ("a.b", &["a.b", "x.a.b", "a.b.c", "/a/b", "a[0].b.b", "a.a.b"], &["a.c.b", "b.a", "a", "ab"]),
            ("items.name", &["items[7].name", "/items/0/name/first"], &["items[7].price"]),
            ("items[0].name", &["items[0].name", "items.0.name"], &["items[1].name"]),
            ("/user/id", &["/user/id", "user.id", "x/user/id"], &["/user/name", "userid"]),
            ("*_id", &["user_id", "a.user_id[2]", "_ID"], &["user_ids", "id", "user_id_hash"]),
            ("customer.*", &["customer.x", "customer[0]", "a.customer.x"], &["customer", "customers.x"]),
            ("a*z", &["az", "a.b.z", "q.abcz"], &["za", "a", "abc"]),
            ("*", &["anything", "a.b"], &[]),
            (" spaced ", &["spaced"], &[" other"]),
        ];
        for (listed, meant, others) in cases {
            let fields = fields(&[listed]);
            for name in meant {
                assert!(fields.matches(name), "`{listed}` means `{name}`");
            }
            for name in others {
                assert!(!fields.matches(name), "`{listed}` does not mean `{name}`");
            }
        }
        assert!(!fields(&[]).matches("a") && fields(&["a", "b"]).matches("b"));
    }

    #[test]
    fn names_without_a_part_mean_themselves_alone() {
        for odd in ["", "/", "[]", ".."] {
            assert!(!fields(&[odd]).matches("a.b"), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn a_star_takes_what_a_regular_expression_takes(pattern in "[ab*]{0,6}", text in "[ab]{0,8}") {
            let regex = regex::Regex::new(&format!("^{}$", pattern.replace('*', ".*"))).unwrap();
            prop_assert_eq!(is_like(&pattern, &text), regex.is_match(&text));
        }

        #[test]
        fn any_name_means_itself_and_what_lies_below(name in "[a-z_]{1,8}", rest in "[a-z.]{0,8}") {
            let list = fields(&[&name]);
            let (below, element) = (format!("{name}.{rest}"), format!("{rest}.{name}[7]"));
            prop_assert!(list.matches(&name) && list.matches(&below) && list.matches(&element));
        }
    }
}
