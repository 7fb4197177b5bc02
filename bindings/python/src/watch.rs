//! A watch.

use std::time::{Duration, Instant};

use keelkv_kit::guarded;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::failure::failure;
use crate::let_go::LetGo;
use crate::node::{Pair, pair};

/// How long Ctrl-C waits at most: Python looks for signals between two waits.
const SLICE: Duration = Duration::from_millis(100);

/// A watch, pulled.
#[pyclass(frozen, module = "keelkv._native")]
pub(crate) struct Watch(LetGo<keelkv_kit::Watch>);

impl Watch {
    pub(crate) const fn new(watch: keelkv_kit::Watch) -> Self {
        Self(LetGo::new(watch))
    }
}

/// The store's revision, and the events: kind and pair of each.
type Batch<'py> = (i64, Vec<(i32, Pair<'py>)>);

#[pymethods]
impl Watch {
    /// Waits for events, at most so many seconds. `None` if there were none until then. Handlers of signals run
    /// meanwhile, and what they raise ends the wait; nothing is lost then.
    #[pyo3(signature = (timeout=None))]
    fn next<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Option<Batch<'py>>> {
        let limit = timeout.map(Duration::try_from_secs_f64).transpose();
        let limit = limit.map_err(|error| PyValueError::new_err(format!("timeout in seconds: {error}")))?;
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            let left = deadline.map_or(SLICE, |deadline| deadline.saturating_duration_since(Instant::now()));
            let found = py.detach(|| guarded(|| self.0.next().wait_for(left.min(SLICE)).transpose()));
            if let Some(batch) = found.map_err(|error| failure(py, &error))? {
                let events = batch.events.iter().filter_map(|event| Some((event.r#type, pair(py, event.kv.as_ref()?))));
                return Ok(Some((batch.revision, events.collect())));
            }
            py.check_signals()?;
            if left.is_zero() {
                return Ok(None);
            }
        }
    }

    /// Ends it.
    fn cancel(&self) {
        self.0.cancel();
    }
}
