//! shakedown-plan
