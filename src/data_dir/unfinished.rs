//! A data directory that is being filled and becomes one in a single step, so that whoever is killed on the way leaves
//! nothing that looks like one.
//!
//! The file `RESTORING` stands where `FORMAT` will: it is there, durable, before anything else is, and is renamed to
//! `FORMAT` when everything else is durable. Until then nobody opens the directory ([`DataDirError::Unfinished`]), and
//! what is in it may be removed by whoever fills it next. All happens inside the directory, so it may be a mount point,
//! or belong to a user who may not write beside it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{
    ADMIN_FILE, DataDir, DataDirError, FORMAT, FORMAT_FILE, JOURNAL_DIR, LOCK_FILE, PARTS, RESTORING_FILE,
    REVOKED_FILE, STORE_DIR, lock, write_revoked, write_whole,
};

/// A data directory in the making. Dropped before [`Unfinished::finish`], it takes away what it made.
#[derive(Debug)]
pub struct Unfinished {
    /// `None` once finished.
    dir: Option<DataDir>,
    path: PathBuf,
    made_by_us: bool,
}

impl Unfinished {
    /// Says whether [`Unfinished::begin`] could fill `path`, and changes nothing.
    ///
    /// # Errors
    /// [`DataDirError::NotEmpty`], or what the file system says.
    pub fn check(path: &Path) -> Result<(), DataDirError> {
        let not_empty = || Err(DataDirError::NotEmpty(path.to_owned()));
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(DataDirError::io("list", path)(error)),
        };
        let is_left_over = is_left_over(path);
        for entry in entries {
            let name = entry.map_err(DataDirError::io("list", path))?.file_name();
            let temporary = name.to_string_lossy().starts_with(&format!("{RESTORING_FILE}."));
            let always = name == LOCK_FILE || name == "lost+found" || temporary;
            let revoked = name.to_string_lossy().starts_with(REVOKED_FILE);
            let left_over =
                name == RESTORING_FILE || name == ADMIN_FILE || revoked || PARTS.iter().any(|part| name == *part);
            let ours = always || (is_left_over && left_over);
            if !ours {
                return not_empty();
            }
        }
        Ok(())
    }

    /// Begins to fill `path`, which is absent, empty, or left over from an attempt that was cut short. The second value
    /// says whether it was left over.
    ///
    /// # Errors
    /// [`DataDirError::NotEmpty`], [`DataDirError::Locked`] when somebody else fills it now, or what the file system says.
    pub fn begin(path: &Path) -> Result<(Self, bool), DataDirError> {
        Self::check(path)?;
        let made_by_us = !path.exists();
        fs::create_dir_all(path).map_err(DataDirError::io("make", path))?;
        let lock = lock(path)?;
        let dir = DataDir { path: path.to_owned(), _lock: lock, announced: false };
        // Again, now that nobody else can come.
        Self::check(path)?;
        let was_left_over = is_left_over(path);
        let unfinished = Self { dir: Some(dir), path: path.to_owned(), made_by_us };
        write_whole(&path.join(RESTORING_FILE), format!("{FORMAT}\n").as_bytes(), 0o644)?;
        unfinished.clear().map_err(DataDirError::io("empty", path))?;
        for part in PARTS {
            let part = path.join(part);
            fs::create_dir(&part).map_err(DataDirError::io("make", &part))?;
        }
        Ok((unfinished, was_left_over))
    }

    /// Where the journal's segments go. What is put there must be durable before [`Unfinished::finish`].
    pub fn journal(&self) -> PathBuf {
        self.path.join(JOURNAL_DIR)
    }

    /// Where the store goes. What is put there must be durable before [`Unfinished::finish`].
    pub fn store(&self) -> PathBuf {
        self.path.join(STORE_DIR)
    }

    /// Gives it a list of revoked tokens, durable on return.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_revoked(&self, bytes: &[u8]) -> Result<(), DataDirError> {
        write_revoked(&self.path, bytes)
    }

    /// Makes it a data directory, in one step. It stays locked while the result lives.
    ///
    /// # Errors
    /// What the file system says; it is none then, and is taken away.
    pub fn finish(mut self) -> Result<DataDir, DataDirError> {
        let path = &self.path;
        let sync = |dir: &Path| File::open(dir).and_then(|dir| dir.sync_all()).map_err(DataDirError::io("sync", dir));
        sync(&self.journal())?;
        sync(&self.store())?;
        sync(path)?;
        if let Some(parent) = path.parent() {
            sync(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
        }
        let format = path.join(FORMAT_FILE);
        fs::rename(path.join(RESTORING_FILE), &format).map_err(DataDirError::io("make", &format))?;
        // From here on it is one; whether this survives a power cut is what the sync is about.
        let dir = self.dir.take();
        sync(path)?;
        dir.ok_or_else(|| DataDirError::Foreign(path.clone()))
    }

    fn clear(&self) -> io::Result<()> {
        for part in PARTS {
            match fs::remove_dir_all(self.path.join(part)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        for file in [REVOKED_FILE.to_owned(), format!("{REVOKED_FILE}.new")] {
            match fs::remove_file(self.path.join(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.dir.is_none() {
            return;
        }
        // What cannot be removed is recognised by the next attempt.
        if self.clear().is_ok() {
            let _ = fs::remove_file(self.path.join(RESTORING_FILE));
            let _ = fs::remove_file(self.path.join(LOCK_FILE));
            if self.made_by_us {
                let _ = fs::remove_dir(&self.path);
            }
        }
    }
}

/// Whether an attempt to fill `path` was cut short there.
pub(super) fn is_left_over(path: &Path) -> bool {
    path.join(RESTORING_FILE).exists() && !path.join(FORMAT_FILE).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_data_directory_only_once_it_is_finished() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("data");
        let (unfinished, was_left_over) = Unfinished::begin(&path).unwrap();
        assert!(!was_left_over);
        fs::write(unfinished.store().join("db"), "x").unwrap();
        assert!(matches!(DataDir::open(&path), Err(DataDirError::Unfinished(_))));
        assert!(matches!(Unfinished::begin(&path), Err(DataDirError::Locked { .. })));
        let dir = unfinished.finish().unwrap();
        assert!(matches!(DataDir::open(&path), Err(DataDirError::Locked { .. })));
        drop(dir);
        assert!(!path.join(RESTORING_FILE).exists());
        assert_eq!(fs::read_to_string(DataDir::open(&path).unwrap().store().join("db")).unwrap(), "x");
    }

    #[test]
    fn what_was_cut_short_is_recognised_and_taken_away() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("data");
        // As a kill leaves it.
        let (unfinished, _) = Unfinished::begin(&path).unwrap();
        fs::write(unfinished.store().join("db"), "half").unwrap();
        std::mem::forget(unfinished);
        fs::write(path.join("RESTORING.new"), "").unwrap();
        fs::write(path.join("revoked.json"), "half").unwrap();
        let (copy, inner) = (outer.path().join("copy"), |dir: &Path| dir.join(STORE_DIR).join("db"));
        fs::create_dir_all(copy.join(STORE_DIR)).unwrap();
        for file in [RESTORING_FILE, "store/db", REVOKED_FILE] {
            fs::copy(path.join(file), copy.join(file)).unwrap();
        }
        assert!(matches!(DataDir::open(&copy), Err(DataDirError::Unfinished(_))));
        let (unfinished, was_left_over) = Unfinished::begin(&copy).unwrap();
        assert!(was_left_over && !inner(&copy).exists());
        // And one that fails by itself leaves nothing.
        drop(unfinished);
        assert_eq!(fs::read_dir(&copy).unwrap().count(), 0);
        let absent = outer.path().join("absent");
        drop(Unfinished::begin(&absent).unwrap());
        assert!(!absent.exists());
    }

    #[test]
    fn nothing_that_was_there_is_touched() {
        let outer = tempfile::tempdir().unwrap();
        let data = outer.path().join("data");
        drop(DataDir::open(&data).unwrap());
        let foreign = outer.path().join("foreign");
        fs::create_dir_all(foreign.join(STORE_DIR)).unwrap();
        let half_foreign = outer.path().join("half");
        fs::create_dir(&half_foreign).unwrap();
        fs::write(half_foreign.join(RESTORING_FILE), "1\n").unwrap();
        fs::write(half_foreign.join("letter.txt"), "dear").unwrap();
        for path in [&data, &foreign, &half_foreign] {
            let list = || fs::read_dir(path).unwrap().count();
            let before = list();
            let error = Unfinished::begin(path).unwrap_err();
            assert!(matches!(error, DataDirError::NotEmpty(_)), "{error}");
            assert_eq!(list(), before);
        }
        // An empty directory that was there stays there.
        let empty = outer.path().join("empty");
        fs::create_dir(&empty).unwrap();
        drop(Unfinished::begin(&empty).unwrap());
        assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
    }
}
