//! Histories that are wrong in one way each, named after what went wrong; numbers are issues of etcd.

mod administration;
mod convergence;
mod durability;
mod lease;
mod linearizable;
mod permission;
mod revisions;
mod revocation;
mod serializable;
mod space;
mod watch;
