//! A member.

use std::collections::BTreeMap;

use bytes::Bytes;
use keelkv_kit::{Member, Options, Result, Work, guarded};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::failure::failure;
use crate::let_go::LetGo;
use crate::watch::Watch;

/// A member that runs in this process.
#[pyclass(frozen, module = "keelkv._native")]
pub(crate) struct Node(LetGo<Member>);

/// Key and value, then create revision, mod revision, version and lease.
pub(crate) type Pair<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, i64, i64, i64, i64);

pub(crate) fn pair<'py>(py: Python<'py>, pair: &keelkv_kit::KeyValue) -> Pair<'py> {
    let (key, value) = (PyBytes::new(py, &pair.key), PyBytes::new(py, &pair.value));
    (key, value, pair.create_revision, pair.mod_revision, pair.version, pair.lease)
}

#[pymethods]
impl Node {
    /// Starts a member and waits until it serves.
    #[staticmethod]
    fn start(py: Python<'_>, options: BTreeMap<String, String>) -> PyResult<Self> {
        let started = py.detach(|| {
            guarded(|| {
                let mut chosen = Options::default();
                for (name, value) in &options {
                    chosen.set(name, value)?;
                }
                Member::start(chosen).wait()
            })
        });
        started.map(|member| Self(LetGo::new(member))).map_err(|error| failure(py, &error))
    }

    /// Writes a key: its new revision.
    fn put(&self, py: Python<'_>, key: &[u8], value: &[u8]) -> PyResult<i64> {
        let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        self.wait(py, |member| member.put(key, value))
    }

    /// Reads a key.
    fn get<'py>(&self, py: Python<'py>, key: &[u8]) -> PyResult<Option<Pair<'py>>> {
        let key = Bytes::copy_from_slice(key);
        let found = self.wait(py, |member| member.get(key))?;
        Ok(found.map(|found| pair(py, &found)))
    }

    /// Watches keys.
    fn watch(&self, py: Python<'_>, key: &[u8], range_end: &[u8], start_revision: i64) -> PyResult<Watch> {
        let (key, range_end) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(range_end));
        let opened = py.detach(|| guarded(|| self.0.watch(key, range_end, start_revision)));
        opened.map(Watch::new).map_err(|error| failure(py, &error))
    }

    /// Stops it.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.wait(py, Member::stop)
    }
}

impl Node {
    fn wait<T: Send>(&self, py: Python<'_>, call: impl FnOnce(&Member) -> Work<T> + Send) -> PyResult<T> {
        let result: Result<T> = py.detach(|| guarded(|| call(&self.0).wait()));
        result.map_err(|error| failure(py, &error))
    }
}
