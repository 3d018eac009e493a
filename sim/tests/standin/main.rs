//! The stand-in on real TCP: steering, restarts, and peers of every kind.

mod hostile;
mod rig;
mod steering;
