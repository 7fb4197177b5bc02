//! Errors, as the package's own exceptions.

use keelkv_kit::Error;
use pyo3::prelude::*;

/// The exception for an error. Its class is written in Python.
pub(crate) fn failure(py: Python<'_>, error: &Error) -> PyErr {
    let made = || -> PyResult<PyErr> {
        let class = py.import("keelkv.errors")?.getattr("Error")?;
        Ok(PyErr::from_value(class.call1((error.code().number(), error.message()))?))
    };
    made().unwrap_or_else(|broken| broken)
}
