//! Which columns messages had lately: a list of names is made once, then every exchange of a thread shares it.

use std::cell::RefCell;

use crate::model::{Column, Name, NameList};

/// Lists that a thread holds of each sort.
const HELD: usize = 32;
/// Longest list that is held.
const MAX_NAMES: usize = 1024;
/// Bytes of names that a held list may have.
const MAX_BYTES: usize = 64 << 10;

/// The lists of a thread, the ones used last in front.
#[derive(Default)]
struct Held {
    /// Lists as they came.
    plain: Vec<NameList>,
    /// `prefix[0]`, `prefix[1]`, … by prefix.
    numbered: Vec<(Name, NameList)>,
}

thread_local! {
    static LISTS: RefCell<Held> = RefCell::default();
}

/// Whether a list is small enough to be held.
fn is_small<'n>(names: impl ExactSizeIterator<Item = &'n str>) -> bool {
    names.len() <= MAX_NAMES && names.map(str::len).sum::<usize>() <= MAX_BYTES
}

fn hold<T>(held: &mut Vec<T>, item: T) {
    held.truncate(HELD - 1);
    held.insert(0, item);
}

/// The first that fits, put in front.
fn find<T>(held: &mut [T], fits: impl FnMut(&T) -> bool) -> Option<&T> {
    let at = held.iter().position(fits)?;
    held.get_mut(..=at)?.rotate_right(1);
    held.first()
}

/// These names as a list.
pub(super) fn list<'n>(names: impl ExactSizeIterator<Item = &'n str> + Clone) -> NameList {
    LISTS.with_borrow_mut(|held| {
        let same =
            |list: &NameList| list.len() == names.len() && list.iter().map(Name::as_str).eq(names.clone());
        if let Some(list) = find(&mut held.plain, same) {
            return list.clone();
        }
        let list: NameList = names.clone().collect();
        if is_small(names) {
            hold(&mut held.plain, list.clone());
        }
        list
    })
}

/// `prefix[0]` to `prefix[width - 1]`.
pub(super) fn numbered(prefix: &str, width: usize) -> NameList {
    LISTS.with_borrow_mut(|held| {
        let same = |(name, list): &(Name, NameList)| list.len() == width && *name == prefix;
        if let Some((_, list)) = find(&mut held.numbered, same) {
            return list.clone();
        }
        let list: NameList = (0..width).map(|j| format!("{prefix}[{j}]")).collect();
        if is_small(list.iter().map(Name::as_str)) {
            hold(&mut held.numbered, (prefix.into(), list.clone()));
        }
        list
    })
}

/// A list without repetition that begins with the names of `columns` and then has `name`.
pub(super) fn continuing(columns: &[Column], name: &str) -> Option<NameList> {
    LISTS.with_borrow_mut(|held| {
        let fits = |list: &NameList| {
            let begins = || list.iter().zip(columns).all(|(held, column)| *held == column.name);
            list.get(columns.len()).is_some_and(|held| *held == name) && !list.repeats() && begins()
        };
        find(&mut held.plain, fits).cloned()
    })
}

/// Remembers the names of `columns`, which do not repeat.
pub(super) fn remember(columns: &[Column]) {
    let names = columns.iter().map(|column| column.name.as_str());
    if is_small(names.clone()) {
        let list = columns.iter().map(|column| column.name.clone()).collect();
        LISTS.with_borrow_mut(|held| hold(&mut held.plain, list));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(names: &[&str]) -> Vec<Column> {
        names.iter().map(|name| Column { name: (*name).into(), values: Vec::new() }).collect()
    }

    #[test]
    fn a_list_is_made_once() {
        let first = list(["a", "b"].into_iter());
        let again = list(["a", "b"].into_iter());
        assert!(std::ptr::eq(first.as_ptr(), again.as_ptr()));
        assert_eq!(list(["a"].into_iter()), NameList::from(vec!["a"]));
        let first = numbered("x", 3);
        assert!(std::ptr::eq(first.as_ptr(), numbered("x", 3).as_ptr()));
        assert_eq!(first, NameList::from(vec!["x[0]", "x[1]", "x[2]"]));
        assert_eq!(numbered("x", 2).len(), 2);
    }

    #[test]
    fn a_list_is_known_by_its_beginning() {
        remember(&columns(&["a", "b", "c"]));
        list(["a", "b", "b"].into_iter());
        assert_eq!(continuing(&[], "a").map(|list| list.len()), Some(3));
        assert_eq!(continuing(&columns(&["a", "b"]), "c").map(|list| list.len()), Some(3));
        assert_eq!(continuing(&columns(&["a", "b"]), "b"), None, "a list that repeats tells nothing");
        assert_eq!(continuing(&columns(&["a", "b", "c"]), "d"), None);
    }

    #[test]
    fn what_is_held_is_bounded() {
        for i in 0..10 * HELD {
            list([format!("l{i}").as_str()].into_iter());
            numbered(&format!("n{i}"), 2);
        }
        let long = "x".repeat(MAX_BYTES / 2);
        list([long.as_str(), long.as_str(), "x"].into_iter());
        numbered("wide", MAX_NAMES + 1);
        LISTS.with_borrow(|held| {
            assert_eq!((held.plain.len(), held.numbered.len()), (HELD, HELD));
            assert!(held.plain.iter().all(|list| list.len() == 1));
            assert!(held.numbered.iter().all(|(_, list)| list.len() == 2));
        });
    }
}
