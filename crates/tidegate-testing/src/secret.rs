//! Secrets as pods see them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Writes the secret `name` below `secrets`, a file a key, as it is mounted. Keys that were there before
/// and are not named stay.
///
/// # Errors
///
/// When a file cannot be written.
pub fn write_secret(secrets: &Path, name: &str, keys: &[(&str, &str)]) -> Result<()> {
    let folder = secrets.join(name);
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    for (key, value) in keys {
        fs::write(folder.join(key), value).with_context(|| format!("write {name}/{key}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scratch;

    #[test]
    fn a_key_is_a_file_and_others_stay() {
        let scratch = Scratch::new("secret").unwrap();
        write_secret(scratch.path(), "db", &[("user", "me"), ("password", "x")]).unwrap();
        write_secret(scratch.path(), "db", &[("password", "y")]).unwrap();
        let read = |key| fs::read_to_string(scratch.join("db").join(key)).unwrap();
        assert_eq!((read("user").as_str(), read("password").as_str()), ("me", "y"));
    }
}
