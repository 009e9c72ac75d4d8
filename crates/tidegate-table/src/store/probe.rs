//! Finding out whether a store can hold a commit log.
//!
//! Exactly-once stands on one property: of several conditional puts to one name, one wins and all
//! others hear so. Some stores ignore the condition and answer "stored" to everybody. That is not
//! found out by reading a manual, so it is tried.

use std::time::Duration;

use futures::TryStreamExt;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{
    Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, PutResult,
};
use tidegate_types::Nonce;

use super::{StoreError, TableStore};
use crate::files::layout;

/// Puts that race for one name.
const RACERS: usize = 8;
/// How often a put whose answer was lost is made; the commit client does not repeat by itself.
const ATTEMPTS: u32 = 6;
/// Before the second attempt; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Tries what commits need: a second create of a name is refused, of eight racing ones exactly one
/// wins and its bytes are what is read, and a listing shows what was just put. The probe's objects
/// are removed, whatever it finds.
///
/// # Errors
///
/// [`StoreError::Unsafe`] when the store does not behave so, [`StoreError::Probe`] when it could not
/// be asked.
pub async fn probe(store: &TableStore, nonce: Nonce) -> Result<(), StoreError> {
    let probe = Probe {
        store,
        twice: layout::probe_object(nonce, "twice"),
        race: layout::probe_object(nonce, "race"),
    };
    let found = probe.run().await;
    for path in [&probe.twice, &probe.race] {
        match store.data.delete(path).await {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => tracing::warn!(%path, %error, "object of the store probe stays"),
        }
    }
    found
}

struct Probe<'a> {
    store: &'a TableStore,
    twice: Path,
    race: Path,
}

impl Probe<'_> {
    async fn run(&self) -> Result<(), StoreError> {
        self.create_twice().await?;
        self.race().await?;
        self.list().await
    }

    async fn create_twice(&self) -> Result<(), StoreError> {
        match create_until_known(&*self.store.commit, &self.twice, 0).await {
            // An answer that was lost may have been the first attempt's.
            Ok(_) | Err(Error::AlreadyExists { .. }) => {}
            Err(Error::NotImplemented { .. }) => {
                return Err(self.is_unsafe("it has no conditional put"));
            }
            Err(source) => return Err(self.failed("creating an object", source)),
        }
        match create_until_known(&*self.store.commit, &self.twice, 1).await {
            Ok(_) => Err(self.is_unsafe("an object was created twice under one name")),
            Err(Error::AlreadyExists { .. }) => Ok(()),
            Err(source) => Err(self.failed("creating an object again", source)),
        }
    }

    async fn race(&self) -> Result<(), StoreError> {
        let racers = (0..RACERS).map(|racer| create(&*self.store.commit, &self.race, racer));
        let outcomes = join_all(racers).await;
        let (mut winners, mut unknown) = (Vec::new(), None);
        for (racer, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(_) => winners.push(racer),
                Err(Error::AlreadyExists { .. }) => {}
                Err(source) => unknown = Some(source),
            }
        }
        let stored = match self.store.data.get(&self.race).await {
            Ok(answer) => answer.bytes().await,
            Err(error) => Err(error),
        };
        match (&winners[..], unknown, stored) {
            ([winner], _, Ok(stored)) if stored == payload(*winner) => Ok(()),
            ([_], _, Ok(_)) => {
                Err(self.is_unsafe("a put that lost the race replaced the winner's bytes"))
            }
            // The winner is one of those whose answer was lost.
            ([], Some(_), Ok(_)) => Ok(()),
            ([], Some(source), Err(_)) => Err(self.failed("racing for one name", source)),
            ([_], _, Err(source)) => Err(self.failed("reading the winner back", source)),
            _ => {
                let finding = format!("{} of {RACERS} racing puts won one name", winners.len());
                Err(self.is_unsafe(&finding))
            }
        }
    }

    async fn list(&self) -> Result<(), StoreError> {
        let listing = self.store.data.list(Some(&layout::probe_folder()));
        let listed: Vec<Path> = listing
            .map_ok(|object| object.location)
            .try_filter(|path| std::future::ready(*path == self.twice || *path == self.race))
            .try_collect()
            .await
            .map_err(|source| self.failed("listing", source))?;
        if listed.len() == 2 {
            Ok(())
        } else {
            Err(self.is_unsafe("a listing does not show what was just put"))
        }
    }

    fn is_unsafe(&self, finding: &str) -> StoreError {
        StoreError::Unsafe { url: self.store.root.to_string(), finding: finding.to_owned() }
    }

    fn failed(&self, step: &'static str, source: Error) -> StoreError {
        StoreError::Probe { url: self.store.root.to_string(), step, source }
    }
}

/// Creates until the store says what became of it, or has failed too often.
async fn create_until_known(
    store: &dyn ObjectStore,
    path: &Path,
    racer: usize,
) -> object_store::Result<PutResult> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        match create(store, path, racer).await {
            Err(Error::Generic { .. }) => tokio::time::sleep(pause).await,
            known => return known,
        }
        pause *= 2;
    }
    create(store, path, racer).await
}

async fn create(
    store: &dyn ObjectStore,
    path: &Path,
    racer: usize,
) -> object_store::Result<PutResult> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    store.put_opts(path, PutPayload::from(payload(racer)), options).await
}

fn payload(racer: usize) -> Vec<u8> {
    format!("probe {racer}").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::StreamExt;

    use tidegate_types::Reason;
    use url::Url;

    use super::*;
    use crate::files::testing::{Fault, faulty};
    use crate::store::{StoreOptions, open};

    async fn objects(store: &TableStore) -> usize {
        store.data.list(None).count().await
    }

    #[tokio::test]
    async fn memory_and_local_directories_are_fit_and_nothing_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let local = Url::from_file_path(directory.path()).expect("absolute");
        for url in [Url::parse("memory:///").expect("a URL"), local] {
            let store = open(&StoreOptions::new(url)).expect("opened");
            probe(&store, Nonce::from_random(2)).await.expect("fit");
            assert_eq!(objects(&store).await, 0, "{}", store.root);
        }
    }

    #[tokio::test]
    async fn a_store_that_ignores_the_condition_is_found_out_and_cleaned_up() {
        let mut store =
            open(&StoreOptions::new(Url::parse("memory:///").expect("a URL"))).expect("opened");
        store.commit = faulty(Arc::clone(&store.data), Fault::IgnoresCreate);
        let error = probe(&store, Nonce::from_random(2)).await.expect_err("not fit");
        assert_eq!(error.reason(), Reason::CommitStoreUnsafe, "{error}");
        assert_eq!(objects(&store).await, 0);
    }

    #[tokio::test]
    async fn a_store_that_checks_only_what_it_has_seen_loses_the_race() {
        let mut store =
            open(&StoreOptions::new(Url::parse("memory:///").expect("a URL"))).expect("opened");
        store.commit = faulty(Arc::clone(&store.data), Fault::ChecksThenPuts);
        let error = probe(&store, Nonce::from_random(2)).await.expect_err("not fit");
        assert!(error.to_string().contains("8 of 8 racing puts"), "{error}");
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_reached_is_not_called_unsafe() {
        let mut store =
            open(&StoreOptions::new(Url::parse("memory:///").expect("a URL"))).expect("opened");
        store.commit = faulty(Arc::clone(&store.data), Fault::EveryPut);
        let error = probe(&store, Nonce::from_random(2)).await.expect_err("not reached");
        assert_eq!(error.reason(), Reason::SinkUnreachable, "{error}");
    }
}
