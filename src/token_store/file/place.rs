//! Where the file is, its lock, and how it is replaced.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, FileType, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use secrecy::zeroize::Zeroizing;

use crate::core::StoreError;

/// As many symbolic links as Linux follows.
const LINKS_MAX: usize = 40;
/// The first and the longest pause between two attempts at the lock. It is held for a few milliseconds as a rule.
const LOCK_PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// The file, and what is beside it.
pub(super) struct Place {
    folder: PathBuf,
    file: PathBuf,
    lock: PathBuf,
    temporary: PathBuf,
}

/// The right to replace the file, until it is dropped.
pub(super) struct Lock<'p> {
    place: &'p Place,
    _held: File,
}

/// The error of an operation that makes something `what` of `path`.
pub(super) fn failed(path: &Path, what: &'static str) -> impl Fn(io::Error) -> StoreError {
    let path = path.to_owned();
    move |why| {
        let path = path.clone();
        match why.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                StoreError::NotPermitted { path, what }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { path, what },
            _ => StoreError::System { path, what, why: why.to_string() },
        }
    }
}

impl Place {
    /// The place of the store at `path`: the end of its symbolic links, also where nothing is there yet.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let mut file = path.to_owned();
        for _ in 0..LINKS_MAX {
            match fs::symlink_metadata(&file) {
                Ok(metadata) if metadata.is_symlink() => {
                    let target = fs::read_link(&file).map_err(failed(&file, "read"))?;
                    file = folder_of(&file).join(target);
                }
                Ok(metadata) if metadata.is_file() => return Self::beside(file),
                Ok(metadata) => {
                    return Err(StoreError::NotAFile { path: file, is: in_words(metadata.file_type()) });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::beside(file),
                Err(error) => return Err(failed(&file, "read")(error)),
            }
        }
        Err(StoreError::NotAFile { path: path.to_owned(), is: "a symbolic link that leads nowhere" })
    }

    fn beside(file: PathBuf) -> Result<Self, StoreError> {
        let Some(name) = file.file_name() else {
            return Err(StoreError::NotAFile { path: file, is: "a folder" });
        };
        let folder = folder_of(&file).to_owned();
        let beside = |end: &str| {
            let mut name = OsString::from(name);
            name.push(end);
            folder.join(name)
        };
        Ok(Self { lock: beside(".lock"), temporary: beside(".tmp"), folder, file })
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// What is in the file, if there is one.
    pub(super) fn read(&self) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let mut options = OpenOptions::new();
        let mut file = match open(&self.file, options.read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&self.file, "read")(error)),
        };
        let metadata = file.metadata().map_err(failed(&self.file, "read"))?;
        if !metadata.is_file() {
            return Err(StoreError::NotAFile { path: self.file.clone(), is: in_words(metadata.file_type()) });
        }
        let mut bytes =
            Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default()));
        file.read_to_end(&mut bytes).map_err(failed(&self.file, "read"))?;
        Ok(Some(bytes))
    }

    /// Waits for the lock. What a writer has left that was killed is removed, now that it cannot be at work.
    pub(super) fn lock(&self, timeout: Duration) -> Result<Lock<'_>, StoreError> {
        let mut folders = DirBuilder::new();
        folders.recursive(true).mode(0o700).create(&self.folder).map_err(failed(&self.folder, "made"))?;
        let held = self.acquire(timeout)?;
        match fs::remove_file(&self.temporary) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&self.temporary, "removed")(error)),
        }
        Ok(Lock { place: self, _held: held })
    }

    fn acquire(&self, timeout: Duration) -> Result<File, StoreError> {
        let began = Instant::now();
        let (mut pause, longest) = LOCK_PAUSES;
        loop {
            let mut options = OpenOptions::new();
            let file = open(&self.lock, options.read(true).write(true).create(true).mode(0o600))
                .map_err(failed(&self.lock, "locked"))?;
            let metadata = file.metadata().map_err(failed(&self.lock, "locked"))?;
            if !metadata.is_file() {
                let is = in_words(metadata.file_type());
                return Err(StoreError::NotAFile { path: self.lock.clone(), is });
            }
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Somebody may have removed the lock file meanwhile; then others lock another one.
                Ok(()) if self.is_lock_file(&metadata) => return Ok(file),
                Ok(()) | Err(Errno::INTR | Errno::WOULDBLOCK) => {}
                Err(error) => return Err(failed(&self.lock, "locked")(error.into())),
            }
            let waited = began.elapsed();
            if waited >= timeout {
                return Err(StoreError::Locked { path: self.lock.clone(), waited: timeout });
            }
            thread::sleep(pause.min(timeout - waited));
            pause = longest.min(pause * 2);
        }
    }

    fn is_lock_file(&self, held: &fs::Metadata) -> bool {
        let same = |there: fs::Metadata| (there.dev(), there.ino()) == (held.dev(), held.ino());
        fs::symlink_metadata(&self.lock).is_ok_and(same)
    }
}

impl Lock<'_> {
    /// Writes a new file beside the old one and puts it in its place.
    pub(super) fn replace(&self, text: &str) -> Result<(), StoreError> {
        let Place { folder, file, temporary, .. } = self.place;
        if let Err(error) = self.write(text) {
            // It may hold a part of the tokens. Whoever locks next tries again.
            let _ = fs::remove_file(temporary);
            return Err(failed(file, "written")(error));
        }
        fs::rename(temporary, file).map_err(|error| {
            let _ = fs::remove_file(temporary);
            failed(file, "replaced")(error)
        })?;
        // The file is in its place, also where the folder cannot be synced.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(())
    }

    /// Only the owner can read it, from the moment it exists.
    fn write(&self, text: &str) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut new = open(&self.place.temporary, options.write(true).create_new(true).mode(0o600))?;
        new.write_all(text.as_bytes())?;
        new.sync_all()
    }
}

/// Opens without waiting for whoever is at the other end of a pipe, and follows no link.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.custom_flags(flags.bits().cast_signed()).open(path)
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn in_words(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_can_do_something_about_is_told_apart() {
        let path = PathBuf::from("tokens.json");
        let failed = |kind: io::ErrorKind| failed(&path, "written")(kind.into());
        let not_permitted = StoreError::NotPermitted { path: path.clone(), what: "written" };
        assert_eq!(failed(io::ErrorKind::PermissionDenied), not_permitted);
        assert_eq!(failed(io::ErrorKind::ReadOnlyFilesystem), not_permitted);
        let full = StoreError::Full { path: path.clone(), what: "written" };
        assert_eq!(failed(io::ErrorKind::StorageFull), full);
        assert_eq!(failed(io::ErrorKind::QuotaExceeded), full);
        let other = failed(io::ErrorKind::ResourceBusy);
        assert!(matches!(other, StoreError::System { what: "written", .. }), "{other}");
    }
}
