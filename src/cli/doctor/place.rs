//! Files and directories: who may read them, what they lie on, and how much fits.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::Finding;

/// Below this, in bytes, a disk is as good as full.
const FULL: u64 = 8 << 20;

/// Below this, somebody should look after it.
const SCARCE: u64 = 128 << 20;

/// File systems that other machines share. SQLite's log of writes needs memory that is shared with
/// them, which these do not give (sqlite.org/wal.html, "Overview").
const SHARED: [&str; 12] = [
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "lustre", "afs", "gfs2", "ocfs2",
    "virtiofs",
];

/// File systems that are gone with the machine, or with the container.
const PASSING: [&str; 3] = ["tmpfs", "ramfs", "overlay"];

/// A file that only its owner should read.
pub(super) fn private(check: &'static str, path: &Path) -> Option<Finding> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o077 != 0).then(|| {
        Finding::warning(
            check,
            format!("others than its owner may use {}", path.display()),
            "what is in it is for Daypass only",
            format!("chmod 600 {}", path.display()),
        )
    })
}

/// A directory that others should not write to.
pub(super) fn open_to_others(check: &'static str, path: &Path) -> Option<Finding> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o002 != 0).then(|| {
        Finding::warning(
            check,
            format!("every user of this machine may write to {}", path.display()),
            "what is kept there can be removed or put in its place by others",
            format!("chmod 700 {}", path.display()),
        )
    })
}

/// A place from which nothing should vanish, and where there should be room.
pub(super) fn lasting(check: &'static str, path: &Path) -> Vec<Finding> {
    let place = existing(path);
    let mut findings = Vec::new();
    if let Some(kind) = file_system(&place)
        && PASSING.contains(&kind.as_str())
    {
        findings.push(Finding::warning(
            check,
            format!("{} lies on {kind}", path.display()),
            "what is there is gone when the machine, or the container, is replaced",
            "put it on a disk or volume that stays",
        ));
    }
    findings.extend(room(check, path, &place));
    findings
}

/// Whether `path` lies where several machines write.
pub(super) fn shared(path: &Path) -> Option<String> {
    let kind = file_system(&existing(path))?;
    let base = kind.strip_prefix("fuse.").unwrap_or(&kind);
    let is_shared = SHARED.contains(&base) || kind.starts_with("fuse.");
    is_shared.then_some(kind)
}

fn room(check: &'static str, path: &Path, place: &Path) -> Option<Finding> {
    let disk = rustix::fs::statvfs(place).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= SCARCE {
        return None;
    }
    let what = format!("{} MiB are left for {}", free >> 20, path.display());
    let why = "when the disk is full, nothing new can be stored: users cannot connect, and renewed tokens \
               exist in memory only";
    Some(if free < FULL {
        Finding::error(check, what, why, "make room")
    } else {
        Finding::warning(check, what, why, "make room")
    })
}

/// Whether files can be made in `directory`, or it can be made itself.
pub(super) fn takes_files(directory: &Path) -> io::Result<()> {
    if directory.exists() {
        // It has no name, and so leaves nothing behind.
        return tempfile::tempfile_in(directory).map(drop);
    }
    let above = existing(directory);
    if !above.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    Ok(rustix::fs::access(&above, access)?)
}

/// `path`, or what there is above it.
fn existing(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|place| place.exists());
    match found {
        Some(found) => found.to_owned(),
        // A relative path is below the working directory.
        None => PathBuf::from("."),
    }
}

/// What `path`, which exists, lies on, by the name that Linux has for it.
fn file_system(path: &Path) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    kind_of(&path, &mounts)
}

/// In `mounts`, which is written as proc(5) says: the mount point is the fifth field; the kind follows
/// a field that is a dash.
fn kind_of(path: &Path, mounts: &str) -> Option<String> {
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let point = PathBuf::from(unescaped(before.split(' ').nth(4)?));
        let kind = after.split(' ').next()?;
        path.starts_with(&point)
            .then(|| (point.components().count(), kind.to_owned()))
    };
    // Of those that cover each other, the last one counts.
    let found = mounts.lines().filter_map(mount);
    found.max_by_key(|(depth, _)| *depth).map(|(_, kind)| kind)
}

/// Spaces and the like are written in octal.
fn unescaped(text: &str) -> String {
    let escapes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    escapes
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 0:20 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/l
30 22 0:26 / /data rw,relatime - ext4 /dev/vdb rw
31 30 0:27 / /data/shared\\040files rw shared:7 master:2 - nfs4 server:/export rw
32 22 0:28 / /run rw - tmpfs tmpfs rw
33 32 0:29 / /run rw - fuse.glusterfs vol rw
";

    #[test]
    fn a_path_lies_on_the_deepest_mount_above_it() {
        for (path, kind) in [
            ("/data/daypass.db", "ext4"),
            ("/database", "overlay"),
            ("/data/shared files/daypass.db", "nfs4"),
            ("/run/spool", "fuse.glusterfs"),
        ] {
            let found = kind_of(Path::new(path), MOUNTS);
            assert_eq!(found.as_deref(), Some(kind), "{path}");
        }
        assert_eq!(kind_of(Path::new("/x"), ""), None);
    }

    #[test]
    fn a_directory_that_is_not_there_can_be_made_below_one_that_takes_files() {
        let folder = tempfile::tempdir().unwrap();
        takes_files(folder.path()).unwrap();
        takes_files(&folder.path().join("a/b/c")).unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        takes_files(&folder.path().join("file")).unwrap_err();
        takes_files(&folder.path().join("file/below")).unwrap_err();
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 1, "it leaves nothing behind");
    }

    #[test]
    fn what_others_may_use_is_told_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "").unwrap();
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        set(0o600);
        assert!(private("keys", &path).is_none());
        set(0o640);
        let found = private("keys", &path).unwrap();
        assert!(found.mend.unwrap().starts_with("chmod 600 "));
    }
}
