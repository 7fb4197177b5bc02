//! A look at the data directory before the member opens it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::StartError;

/// Does it hold a member's data already? Refuses what etcd refuses, and warns where etcd warns.
pub(super) fn inspect(path: &Path) -> Result<bool, StartError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        // The member makes it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => {
            let advice = "give this user the right to read it, or choose another --data-dir";
            return Err(StartError::new(format!(
                "cannot read the data directory {}: {error}; {advice}",
                path.display()
            )));
        }
    };
    let mode = fs::metadata(path).map(|m| m.permissions().mode() & 0o777).unwrap_or_default();
    if mode & 0o077 != 0 {
        tracing::warn!(
            data_dir = %path.display(), permissions = format!("{mode:o}"), recommended = "700",
            "other users of this machine can enter the data directory"
        );
    }
    let (mut member, mut proxy) = (false, false);
    for name in entries.filter_map(|e| Some(e.ok()?.file_name())) {
        match name.to_str() {
            Some("member") => member = true,
            Some("proxy") => proxy = true,
            _ => {
                tracing::warn!(filename = ?name, data_dir = %path.display(), "found invalid file under data directory")
            }
        }
    }
    match (member, proxy) {
        (true, true) => Err(StartError::new("invalid datadir; both member and proxy directories exist")),
        (false, true) => Err(StartError::new(format!(
            "the data directory {} belongs to an etcd proxy: choose another --data-dir",
            path.display()
        ))),
        (member, false) => Ok(member),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_new_used_and_wrong_directories_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!inspect(&dir.path().join("none")).unwrap());
        assert!(!inspect(dir.path()).unwrap());
        fs::create_dir(dir.path().join("member")).unwrap();
        assert!(inspect(dir.path()).unwrap());
        fs::create_dir(dir.path().join("proxy")).unwrap();
        let error = inspect(dir.path()).unwrap_err();
        assert_eq!(error.to_string(), "invalid datadir; both member and proxy directories exist");
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(inspect(&file).unwrap_err().to_string().contains("choose another --data-dir"));
    }
}
