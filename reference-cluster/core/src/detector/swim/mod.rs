//! SWIM: each member asks one other at a time, and tells what it learnt on the back of the asking
//! (Das, Gupta, Motivala 2002; with Lifeguard's three parts, Dadgar, Phillips, Currey 2018).

pub mod packet;
