//! Histories that are wrong in one way each, named after what went wrong; numbers are issues of etcd.

mod convergence;
mod durability;
mod lease;
mod linearizable;
mod revisions;
mod serializable;
mod space;
mod watch;
