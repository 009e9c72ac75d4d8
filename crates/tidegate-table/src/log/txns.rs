//! The `txn` actions of a table: application id → version.

use std::collections::BTreeMap;

/// Every application id of a table and its latest version, at one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Txns(BTreeMap<String, i64>);

impl Txns {
    /// The version of `app_id`, if the table ever had it.
    #[must_use]
    pub fn get(&self, app_id: &str) -> Option<i64> {
        self.0.get(app_id).copied()
    }

    /// All of them, by application id.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(app_id, version)| (app_id.as_str(), *version))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over the `txn` actions of a later commit; they win over what is there.
    pub fn apply(&mut self, later: &BTreeMap<String, i64>) {
        for (app_id, version) in later {
            match self.0.get_mut(app_id) {
                Some(known) => *known = *version,
                None => _ = self.0.insert(app_id.clone(), *version),
            }
        }
    }

    /// Takes over an earlier commit's action: what is there already wins.
    pub(super) fn add_older(&mut self, app_id: &str, version: i64) {
        if !self.0.contains_key(app_id) {
            self.0.insert(app_id.to_owned(), version);
        }
    }
}

impl<S: Into<String>> FromIterator<(S, i64)> for Txns {
    fn from_iter<I: IntoIterator<Item = (S, i64)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(app_id, version)| (app_id.into(), version)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_action_of_an_application_wins_even_when_it_is_lower() {
        let mut txns = Txns::from_iter([("a", 7), ("b", 1)]);
        txns.apply(&BTreeMap::from([("a".to_owned(), 3), ("c".to_owned(), 4)]));
        txns.add_older("a", 9);
        txns.add_older("d", 2);
        assert_eq!(txns.iter().collect::<Vec<_>>(), [("a", 3), ("b", 1), ("c", 4), ("d", 2)]);
    }
}
