//! shakedown-run
