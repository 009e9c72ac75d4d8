//! What a [`FaultProxy`](crate::FaultProxy) does to which requests.

use std::time::Duration;

use crate::http::Head;

/// Which requests a rule is about. Every condition that is set must hold.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    method: Option<String>,
    suffix: Option<String>,
    contains: Option<String>,
    commit: bool,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The store does it, and the client gets this status instead of the answer.
    StoreThenStatus(u16),
    /// The store does it, and the connection is cut instead of an answer.
    StoreThenCut,
    /// The store does it, and no answer ever comes.
    StoreThenHang,
    /// The store never hears of it; the client gets this status (503, 409, 412, …).
    Status(u16),
    /// The store never hears of it; the client gets a success with this body.
    Answer(&'static str),
    /// The store never hears of it; the connection is cut.
    Cut,
    /// The store never hears of it, and no answer ever comes.
    Hang,
    /// The client learns nothing and the connection is cut at once; the store does it later.
    StoreLate(Late),
    /// As it should be, after this time.
    Delay(Duration),
    /// As it should be, but the connection is cut after so many bytes of the answer's body.
    TruncateAnswer(u64),
}

/// When a late request reaches the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// After this time.
    After(Duration),
    /// When the test says so: [`FaultProxy::release`](crate::FaultProxy::release).
    OnRelease,
}

/// A fault for the requests of a matcher.
#[derive(Debug, Clone)]
pub struct Rule {
    pub(crate) matcher: Matcher,
    pub(crate) fault: Fault,
    percent: u8,
    skip: u64,
    times: u64,
}

impl Matcher {
    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests of this method.
    #[must_use]
    pub fn method(method: &str) -> Self {
        Self { method: Some(method.to_owned()), ..Self::default() }
    }

    /// Writes of a table's commits: `PUT …/_delta_log/<20 digits>.json`, the dead letters' included.
    #[must_use]
    pub fn commits() -> Self {
        Self { commit: true, ..Self::method("PUT") }
    }

    /// Paths that end so.
    #[must_use]
    pub fn suffix(mut self, suffix: &str) -> Self {
        self.suffix = Some(suffix.to_owned());
        self
    }

    /// Paths with this in them, the query included.
    #[must_use]
    pub fn containing(mut self, text: &str) -> Self {
        self.contains = Some(text.to_owned());
        self
    }

    pub(crate) fn matches(&self, head: &Head) -> bool {
        let target = head.target();
        let path = target.split('?').next().unwrap_or_default();
        self.method.as_ref().is_none_or(|method| method == head.method())
            && self.suffix.as_ref().is_none_or(|suffix| path.ends_with(suffix.as_str()))
            && self.contains.as_ref().is_none_or(|text| target.contains(text.as_str()))
            && (!self.commit || is_commit(path))
    }
}

impl Rule {
    /// Does this to every request that matches.
    #[must_use]
    pub fn new(matcher: Matcher, fault: Fault) -> Self {
        Self { matcher, fault, percent: 100, skip: 0, times: u64::MAX }
    }

    /// Only to this share of them, by the seeded chance of the proxy.
    #[must_use]
    pub fn percent(mut self, percent: u8) -> Self {
        self.percent = percent.min(100);
        self
    }

    /// Lets the first ones pass.
    #[must_use]
    pub fn after(mut self, matches: u64) -> Self {
        self.skip = matches;
        self
    }

    /// At most so often.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Whether the rule is for the request that matches it as number `seen` (from zero), after `hits`
    /// faults, with a throw of 0 to 99.
    pub(crate) fn applies(&self, seen: u64, hits: u64, throw: u64) -> bool {
        seen >= self.skip && hits < self.times && throw < u64::from(self.percent)
    }
}

fn is_commit(path: &str) -> bool {
    let Some((folder, name)) = path.rsplit_once('/') else { return false };
    let Some(version) = name.strip_suffix(".json") else { return false };
    folder.ends_with("/_delta_log")
        && version.len() == 20
        && version.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbered_files_of_a_log_are_commits() {
        let version = "00000000000000000007";
        for (path, expected) in [
            (format!("/lake/t/_delta_log/{version}.json"), true),
            (format!("/lake/t/_dead_letters/_delta_log/{version}.json"), true),
            (format!("/lake/t/_delta_log/{version}.checkpoint.parquet"), false),
            (format!("/lake/t/_delta_log/{version}.crc"), false),
            (format!("/lake/t/{version}.json"), false),
            ("/lake/t/_delta_log/7.json".to_owned(), false),
            ("/lake/t/_delta_log/0000000000000000000x.json".to_owned(), false),
        ] {
            assert_eq!(is_commit(&path), expected, "{path}");
        }
    }

    #[test]
    fn a_rule_lets_the_first_pass_and_stops_after_its_times() {
        let rule = Rule::new(Matcher::any(), Fault::Cut).after(2).times(3);
        let mut hits = 0;
        let fired: Vec<_> = (0..8)
            .map(|seen| {
                let fires = rule.applies(seen, hits, 50);
                hits += u64::from(fires);
                fires
            })
            .collect();
        assert_eq!(fired, [false, false, true, true, true, false, false, false]);
    }
}
