//! Long lists in pages: `limit`, and an opaque `cursor` that the page before gave as `next`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ApiError;

/// Most items of a page.
const MOST: i64 = 1000;

/// Items of a page where nobody says.
const USUAL: i64 = 50;

/// Which page is asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Paging {
    limit: Option<String>,
    cursor: Option<String>,
}

impl Paging {
    /// A page of a list that has further parameters of its own.
    pub(super) fn new(limit: Option<String>, cursor: Option<String>) -> Self {
        Self { limit, cursor }
    }

    /// How many items are asked for.
    pub(super) fn limit(&self) -> Result<i64, ApiError> {
        let Some(text) = &self.limit else { return Ok(USUAL) };
        let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
        limit.ok_or_else(|| ApiError::bad_request(format!("`limit` must be between 1 and {MOST}")))
    }

    /// Where the page before ended.
    pub(super) fn after<T: DeserializeOwned>(&self) -> Result<Option<T>, ApiError> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
        let place = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let wrong =
            || ApiError::bad_request("`cursor` is none that an answer of this address gave as `next`");
        place.map(Some).ok_or_else(wrong)
    }

    /// The page of a list that is wholly in memory, and the cursor of the next one.
    pub(super) fn cut<T>(&self, items: Vec<T>) -> Result<(Vec<T>, Option<String>), ApiError> {
        let limit = usize::try_from(self.limit()?).unwrap_or(usize::MAX);
        let start: usize = self.after()?.unwrap_or(0);
        let end = start.saturating_add(limit);
        let next = if end < items.len() { cursor(&end) } else { None };
        Ok((items.into_iter().skip(start).take(limit).collect(), next))
    }

    /// The page of a list of which one item more than asked for was fetched, and the cursor of the next one.
    pub(super) fn trim<T, P: Serialize>(
        &self,
        mut items: Vec<T>,
        place: impl Fn(&T) -> P,
    ) -> Result<(Vec<T>, Option<String>), ApiError> {
        let limit = usize::try_from(self.limit()?).unwrap_or(usize::MAX);
        if items.len() <= limit {
            return Ok((items, None));
        }
        items.truncate(limit);
        let next = items.last().and_then(|last| cursor(&place(last)));
        Ok((items, next))
    }
}

fn cursor(place: &impl Serialize) -> Option<String> {
    serde_json::to_vec(place).ok().map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(limit: &str, cursor: Option<String>) -> Paging {
        Paging::new(Some(limit.to_owned()), cursor)
    }

    #[test]
    fn pages_follow_one_another_and_end() {
        let mut cursor = None;
        let mut seen = Vec::new();
        for _ in 0..3 {
            let (items, next) = page("2", cursor).cut(vec![1, 2, 3, 4, 5]).unwrap();
            seen.extend(items);
            cursor = next;
        }
        assert_eq!((seen, cursor), (vec![1, 2, 3, 4, 5], None));
        let (items, next) = page("2", None).trim(vec![9, 8, 7], |item| *item).unwrap();
        assert_eq!(items, [9, 8]);
        assert_eq!(page("2", next).after::<i32>().unwrap(), Some(8));
        assert_eq!(page("3", None).trim(vec![9, 8, 7], |item| *item).unwrap().1, None);
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for limit in ["0", "1001", "-1", "x", ""] {
            assert!(page(limit, None).limit().is_err(), "{limit}");
        }
        for cursor in ["", "!", "MTI", "bnVsbA"] {
            let found = page("1", Some(cursor.to_owned())).after::<(i64, i64)>();
            assert!(found.is_err(), "{cursor}");
        }
    }
}
