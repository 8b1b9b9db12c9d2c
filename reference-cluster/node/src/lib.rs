//! shakedown-node
