//! Volumes of a pod as folders.
//!
//! A folder made of objects changes as a whole, like the kubelet's: files lie in a folder of their own,
//! `..data` is a symbolic link to it that is replaced by renaming, and the names above point through
//! `..data`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, KeyToPath, Pod, Volume, VolumeProjection};

use super::expand::pod_field;
use super::objects::{Files, Objects};

const DATA: &str = "..data";

/// All volumes of one pod.
#[derive(Debug)]
pub(crate) struct Volumes {
    folder: PathBuf,
    written: Vec<(Volume, Files)>,
    turn: u32,
}

impl Volumes {
    /// Nothing is written yet.
    pub(crate) fn new(folder: &Path, pod: &Pod) -> Self {
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.clone()).unwrap_or_default();
        let written = volumes.into_iter().map(|volume| (volume, Files::new())).collect();
        Self { folder: folder.to_path_buf(), written, turn: 0 }
    }

    /// Writes what changed. False when a source that is not optional is missing: the pod cannot start.
    pub(crate) fn refresh(&mut self, pod: &Pod, ip: Ipv4Addr, objects: &Objects) -> Result<bool> {
        let mut complete = true;
        for (volume, written) in &mut self.written {
            let path = self.folder.join(&volume.name);
            match contents(volume, pod, ip, objects) {
                Some(files) if self.turn == 0 || files != *written || !path.exists() => {
                    self.turn += 1;
                    write(&path, &files, self.turn)?;
                    *written = files;
                }
                Some(_) => {}
                None => complete = false,
            }
        }
        Ok(complete)
    }

    /// A folder in which each mount path of the container is a link to its volume.
    pub(crate) fn link(&self, container: &Container, root: &Path) -> Result<()> {
        for mount in container.volume_mounts.iter().flatten() {
            let mut target = self.folder.join(&mount.name);
            if let Some(inner) = &mount.sub_path {
                target.push(inner);
            }
            let link = root.join(mount.mount_path.trim_start_matches('/'));
            let parent = link.parent().ok_or_else(|| invalid("a mount at the root"))?;
            fs::create_dir_all(parent)?;
            match symlink(target, link) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The files of a volume; none when a source that is not optional is missing.
fn contents(volume: &Volume, pod: &Pod, ip: Ipv4Addr, objects: &Objects) -> Option<Files> {
    if let Some(source) = &volume.config_map {
        let found = objects.config_map(&source.name);
        return selected(found, source.items.as_deref(), source.optional);
    }
    if let Some(source) = &volume.secret {
        let found = objects.secret(source.secret_name.as_deref()?);
        return selected(found, source.items.as_deref(), source.optional);
    }
    let mut files = Files::new();
    for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
        files.extend(projection(source, pod, ip, objects)?);
    }
    Some(files)
}

fn projection(
    source: &VolumeProjection,
    pod: &Pod,
    ip: Ipv4Addr,
    objects: &Objects,
) -> Option<Files> {
    if let Some(source) = &source.config_map {
        let found = objects.config_map(&source.name);
        return selected(found, source.items.as_deref(), source.optional);
    }
    if let Some(source) = &source.secret {
        let found = objects.secret(&source.name);
        return selected(found, source.items.as_deref(), source.optional);
    }
    let fields = source.downward_api.iter().flat_map(|source| source.items.iter().flatten());
    let files = fields.filter_map(|item| {
        let value = pod_field(&item.field_ref.as_ref()?.field_path, pod, ip)?;
        Some((item.path.clone(), value.into_bytes()))
    });
    Some(files.collect())
}

/// All keys under their own names, or the chosen ones under chosen paths. Whether a missing object or
/// key matters is what `optional` says.
fn selected(
    found: Option<Files>,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
) -> Option<Files> {
    let optional = optional.unwrap_or(false);
    let Some(mut found) = found else { return optional.then(Files::new) };
    let Some(items) = items else { return Some(found) };
    let mut files = Files::new();
    for item in items {
        match found.remove(&item.key) {
            Some(bytes) => {
                files.insert(item.path.clone(), bytes);
            }
            None if optional => {}
            None => return None,
        }
    }
    Some(files)
}

/// Replaces the files of a volume at once; other things in the folder, an emptyDir's, stay.
fn write(folder: &Path, files: &Files, turn: u32) -> Result<()> {
    fs::create_dir_all(folder)?;
    let before = fs::read_link(folder.join(DATA)).ok();
    if files.is_empty() && before.is_none() {
        return Ok(());
    }
    let fresh = format!("..{turn}");
    fs::create_dir_all(folder.join(&fresh))?;
    for (path, bytes) in files {
        let path = folder.join(&fresh).join(path);
        fs::create_dir_all(path.parent().ok_or_else(|| invalid("a file without a folder"))?)?;
        fs::write(path, bytes)?;
    }
    let link = folder.join("..data_new");
    symlink(&fresh, &link)?;
    fs::rename(link, folder.join(DATA))?;
    let names: BTreeSet<_> = files.keys().map(|path| first_step(path)).collect();
    for name in &names {
        let link = folder.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), link)?;
        }
    }
    remove_old(folder, &names)?;
    before.map_or(Ok(()), |before| fs::remove_dir_all(folder.join(before)))
}

/// Links to files that are no more.
fn remove_old(folder: &Path, names: &BTreeSet<&str>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours = entry.file_type()?.is_symlink() && name != DATA;
        if is_ours && !names.contains(name.as_ref()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn first_step(path: &str) -> &str {
    path.split_once('/').map_or(path, |(first, _)| first)
}

fn invalid(problem: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scratch;

    fn files(pairs: &[(&str, &str)]) -> Files {
        pairs.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_volume_changes_as_a_whole_and_loses_what_is_gone() {
        let scratch = Scratch::new("volume").unwrap();
        let folder = scratch.join("v");
        write(&folder, &files(&[("a", "1"), ("in/b", "2")]), 1).unwrap();
        assert_eq!(fs::read_to_string(folder.join("in/b")).unwrap(), "2");
        write(&folder, &files(&[("a", "3")]), 2).unwrap();
        assert_eq!(fs::read_to_string(folder.join("a")).unwrap(), "3");
        let names: BTreeSet<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["..2", "..data", "a"].map(Into::into).into());
    }

    #[test]
    fn optional_sources_and_keys_may_be_missing_and_others_not() {
        let item = |key: &str, path: &str| KeyToPath {
            key: key.to_owned(),
            path: path.to_owned(),
            mode: None,
        };
        let items = [item("creds", "nats/creds"), item("nkey", "nats/nkey")];
        let found = || Some(files(&[("creds", "c"), ("other", "o")]));
        assert_eq!(selected(None, None, Some(true)), Some(Files::new()));
        assert_eq!(selected(None, None, None), None);
        let chosen = selected(found(), Some(&items), Some(true));
        assert_eq!(chosen, Some(files(&[("nats/creds", "c")])));
        assert_eq!(selected(found(), Some(&items), None), None);
    }
}
