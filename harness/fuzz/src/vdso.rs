//! The vDSO in another process's memory.

use shakedown_agents::faults::clock::vdso::{FUNCTIONS, function, room};

/// Room that is found lies within.
pub(crate) fn hold(bytes: &[u8]) {
    for name in FUNCTIONS {
        function(bytes, name);
    }
    let wanted = bytes.first().map_or(0, |first| usize::from(*first));
    if let Some(begin) = room(bytes, wanted) {
        assert!(begin as usize + wanted <= bytes.len());
    }
}
