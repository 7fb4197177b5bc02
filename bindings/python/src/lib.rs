//! The native half of the Python package: moves values between Python and the kit, and lets other threads of the
//! interpreter run while it waits. What users see is written in Python, in `python/keelkv`.

mod failure;
mod let_go;
mod node;
mod watch;

/// Private: it changes with the package.
#[pyo3::pymodule]
mod _native {
    use keelkv_kit::{VERSION, constants, may_have_been_done};
    use pyo3::prelude::*;
    use pyo3::types::{PyDict, PyFrozenSet};

    #[pymodule_export]
    use crate::node::Node;
    #[pymodule_export]
    use crate::watch::Watch;

    #[pymodule_init]
    fn fill(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let codes = PyDict::new(module.py());
        for (name, code) in constants() {
            codes.set_item(name, code.number())?;
        }
        module.add("CODES", codes)?;
        let uncertain = constants().filter(|(_, code)| may_have_been_done(*code)).map(|(_, code)| code.number());
        module.add("UNCERTAIN", PyFrozenSet::new(module.py(), uncertain)?)?;
        module.add("VERSION", VERSION)
    }
}
