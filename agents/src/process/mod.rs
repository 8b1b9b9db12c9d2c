//! What the kernel says about processes: who is who (`identity`), handles that cannot be confused
//! with a later process of the same number (`pidfd`), and the states of threads (`status`); and processes of the
//! agent's own (`child`).

pub mod child;
pub mod identity;
pub mod pidfd;
pub mod status;
