//! shakedown-agents
