//! Bytes that change by themselves.

use std::io;
use std::os::unix::fs::FileExt;

use shakedown_contracts::host_fault::Damage;
use shakedown_contracts::random::Random;

use super::files::Inode;

/// Alters one sector of the file, not the last, and says where and what was there; `None` when it has no two
/// whole sectors.
pub(super) fn alter(
    inode: &Inode,
    damage: Damage,
    random: &mut Random,
    sector_bytes: u64,
) -> io::Result<Option<(u64, Vec<u8>)>> {
    let file = inode.open(libc::O_RDWR)?;
    let sectors = file.metadata()?.len() / sector_bytes;
    if sectors < 2 {
        return Ok(None);
    }
    let offset = random.below(sectors - 1) * sector_bytes;
    let mut before = vec![0; sector_bytes as usize];
    file.read_exact_at(&mut before, offset)?;
    let mut after = before.clone();
    match damage {
        Damage::BitFlip => {
            let bit = random.below(sector_bytes * 8) as usize;
            after[bit / 8] ^= 1 << (bit % 8);
        }
        Damage::Scramble => after
            .iter_mut()
            .for_each(|byte| *byte = random.next_u64() as u8),
    }
    file.write_all_at(&after, offset)?;
    Ok(Some((offset, before)))
}
