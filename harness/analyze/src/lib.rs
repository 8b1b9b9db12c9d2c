//! shakedown-analyze
