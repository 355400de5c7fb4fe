//! A file that appears under its name whole or not at all, also when its writer is killed or the power is cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

/// A file in the making, as `NAME.part` beside the place where it will be. Dropped before [`Part::put_in_place`], it goes.
///
/// The name is always the same, so that what a killed writer left is replaced by the next one and does not pile up; a
/// lock keeps two writers apart.
pub(super) struct Part {
    file: File,
    part: PathBuf,
    path: PathBuf,
    /// Whether a file that is there may be replaced.
    force: bool,
    placed: bool,
}

impl Part {
    /// Begins to write `path`.
    ///
    /// Errors: `AlreadyExists` when something is there that is not to be replaced, `ResourceBusy` when another process
    /// writes it now; else what the file system says. Nothing was changed.
    pub(super) fn create(path: &Path, force: bool) -> io::Result<Self> {
        may_be_replaced(path, force)?;
        let mut name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
        name.push(".part");
        let part = path.with_file_name(name);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&part)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| io::ErrorKind::ResourceBusy)?;
        file.set_len(0)?;
        Ok(Self { file, part, path: path.to_owned(), force, placed: false })
    }

    /// Makes its contents durable and gives it its name, which is durable once [`Placed::sync`] has said so.
    ///
    /// Errors: nothing has the name that had it not before.
    pub(super) fn put_in_place(mut self) -> io::Result<Placed> {
        self.file.sync_all()?;
        may_be_replaced(&self.path, self.force)?;
        if self.force {
            fs::rename(&self.part, &self.path)?;
        } else {
            // Somebody may have made the file since it was looked for. Some file systems know no such rename; there the
            // look just taken must do.
            match renameat_with(CWD, &self.part, CWD, &self.path, RenameFlags::NOREPLACE) {
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => fs::rename(&self.part, &self.path)?,
                renamed => renamed?,
            }
        }
        self.placed = true;
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Placed { dir: dir.to_owned() })
    }
}

/// A file that is whole and has its name.
#[must_use]
pub(super) struct Placed {
    dir: PathBuf,
}

impl Placed {
    /// Makes the name durable too.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.placed {
            // Should it stay, it is replaced next time.
            let _ = fs::remove_file(&self.part);
        }
    }
}

fn may_be_replaced(path: &Path, force: bool) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if force && meta.is_file() => Ok(()),
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).expect("lists").map(|e| e.expect("an entry").file_name());
        let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn it_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file");
        // As a killed writer leaves it.
        fs::write(dir.path().join("file.part"), "a longer left-over").expect("writes");
        let mut part = Part::create(&path, false).expect("begins");
        part.write_all(b"one").expect("writes");
        assert_eq!(Part::create(&path, false).err().map(|e| e.kind()), Some(io::ErrorKind::ResourceBusy));
        assert_eq!(names(dir.path()), ["file.part"]);
        part.put_in_place().expect("is placed").sync().expect("is synced");
        assert_eq!((names(dir.path()), fs::read(&path).expect("reads")), (vec!["file".to_owned()], b"one".to_vec()));

        assert_eq!(Part::create(&path, false).err().map(|e| e.kind()), Some(io::ErrorKind::AlreadyExists));
        drop(Part::create(&path, true).expect("begins"));
        assert_eq!((names(dir.path()), fs::read(&path).expect("reads")), (vec!["file".to_owned()], b"one".to_vec()));
        let mut part = Part::create(&path, true).expect("begins");
        part.write_all(b"two").expect("writes");
        part.put_in_place().expect("is placed").sync().expect("is synced");
        assert_eq!(fs::read(&path).expect("reads"), b"two");
    }

    #[test]
    fn what_appears_meanwhile_is_not_replaced() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file");
        let part = Part::create(&path, false).expect("begins");
        fs::write(&path, "of somebody else").expect("writes");
        assert_eq!(part.put_in_place().map(drop).expect_err("is refused").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((names(dir.path()), fs::read(&path).expect("reads").len()), (vec!["file".to_owned()], 16));
        Part::create(dir.path(), true).err().expect("a directory is no file");
    }
}
