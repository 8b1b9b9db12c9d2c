//! shakedown-report
