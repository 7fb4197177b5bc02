//! The members of one environment: of the main thread of Node.js, or of a worker.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc;

use keelkv_kit::Stopper;
use napi::{Env, Result};

/// Those that may still run.
#[derive(Clone, Default)]
struct Members(Rc<RefCell<Vec<Stopper>>>);

/// From now on the environment does not end before the member has, so that no file is closed while the process ends. For
/// members that are about to start.
pub(crate) fn register(env: &Env, member: Stopper) -> Result<()> {
    let members = match env.get_instance_data::<Members>()? {
        Some(members) => members.clone(),
        None => {
            let members = Members::default();
            env.set_instance_data(members.clone(), (), |_| {})?;
            // One for all of them: Node.js keeps a hook until the environment ends.
            env.add_env_cleanup_hook(members.clone(), |members| members.stop())?;
            members
        }
    };
    let mut members = members.0.borrow_mut();
    members.retain(|member| !member.is_over());
    members.push(member);
    Ok(())
}

impl Members {
    /// Stops them all together, and waits for that.
    fn stop(&self) {
        let (running, ended) = mpsc::channel::<()>();
        for member in self.0.borrow().iter() {
            let running = running.clone();
            member.stop().then(move |_| drop(running));
        }
        drop(running);
        // Nothing is sent: it ends with the last of them.
        let _ = ended.recv();
    }
}
