//! Reed–Solomon erasure code: a value as `k` data and `m` parity shards, any `k` of which suffice.
//!
//! The data shards are the value, cut in pieces. Parity shard i is a sum of the pieces, each times
//! a factor of its own: row i of a Cauchy matrix, 1 ÷ (xᵢ + yⱼ) with all x and y different. Every
//! square part of such a matrix can be inverted, and so can any `k` rows of it and of the identity
//! above it: whatever `k` shards are left, the equations have one solution.
//! Invariant: shards of the same value are of the same length.
//!
//! Sources: Reed & Solomon 1960; Blömer et al. 1995 (Cauchy matrices).

use thiserror::Error;

use super::gf256::{add_scaled, inverse, multiply};

/// Shards in all: the field has no more elements to tell them apart.
const SHARDS_MAX: usize = 256;

/// Too few shards are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{left} shards are left, and it takes {needed} to give the value back")]
pub struct TooFew {
    /// Different ones that are left.
    pub left: usize,
    /// How many it takes.
    pub needed: usize,
}

/// The code of one `k` and `m`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    data: usize,
    parity: usize,
}

/// One shard: its index among all, and its bytes.
pub type Shard<'s> = (usize, &'s [u8]);

impl Code {
    /// The code with so many data and parity shards; `None` when there is no such code.
    pub fn new(data: usize, parity: usize) -> Option<Code> {
        let sound = data > 0 && data.saturating_add(parity) <= SHARDS_MAX;
        sound.then_some(Code { data, parity })
    }

    /// How many shards give the value back.
    pub fn needed(&self) -> usize {
        self.data
    }

    /// The factor with which data shard `column` goes into shard `row`.
    fn factor(&self, row: usize, column: usize) -> u8 {
        if row < self.data {
            return u8::from(row == column);
        }
        inverse((row ^ column) as u8).expect("a parity row is no data column")
    }

    /// All shards of a value, the data shards first; the last of those is filled up with zeros.
    pub fn encode(&self, value: &[u8]) -> Vec<Vec<u8>> {
        let length = value.len().div_ceil(self.data);
        let mut shards: Vec<Vec<u8>> = (0..self.data)
            .map(|column| {
                let from = (column * length).min(value.len());
                let to = (from + length).min(value.len());
                let mut shard = value[from..to].to_vec();
                shard.resize(length, 0);
                shard
            })
            .collect();
        for row in self.data..self.data + self.parity {
            let mut parity = vec![0; length];
            for (column, shard) in shards[..self.data].iter().enumerate() {
                add_scaled(&mut parity, shard, self.factor(row, column));
            }
            shards.push(parity);
        }
        shards
    }

    /// The value of `length` bytes from any shards of it.
    ///
    /// # Errors
    /// When fewer than [`Code::needed`] different ones are there.
    pub fn decode(&self, shards: &[Shard<'_>], length: usize) -> Result<Vec<u8>, TooFew> {
        let mut chosen: Vec<Shard<'_>> = Vec::with_capacity(self.data);
        for shard in shards {
            let known = chosen.iter().any(|(index, _)| *index == shard.0);
            if !known && shard.0 < self.data + self.parity && chosen.len() < self.data {
                chosen.push(*shard);
            }
        }
        if chosen.len() < self.data {
            return Err(TooFew {
                left: chosen.len(),
                needed: self.data,
            });
        }
        let rows: Vec<usize> = chosen.iter().map(|(index, _)| *index).collect();
        let inverted = self.inverted(&rows);
        let size = chosen.iter().map(|(_, bytes)| bytes.len()).max();
        let size = size.unwrap_or_default();
        let mut value = Vec::with_capacity(self.data * size);
        for factors in inverted {
            let mut piece = vec![0; size];
            for (factor, (_, bytes)) in factors.into_iter().zip(&chosen) {
                add_scaled(&mut piece, bytes, factor);
            }
            value.extend(piece);
        }
        value.truncate(length);
        Ok(value)
    }

    /// The inverse of the rows of these shards, by Gauss and Jordan.
    fn inverted(&self, rows: &[usize]) -> Vec<Vec<u8>> {
        let size = self.data;
        let mut matrix: Vec<Vec<u8>> = rows
            .iter()
            .enumerate()
            .map(|(place, row)| {
                let left = (0..size).map(|column| self.factor(*row, column));
                let right = (0..size).map(|column| u8::from(column == place));
                left.chain(right).collect()
            })
            .collect();
        for column in 0..size {
            let pivot = (column..size).find(|row| matrix[*row][column] != 0);
            let pivot = pivot.expect("any k different rows are independent");
            matrix.swap(column, pivot);
            let scale = inverse(matrix[column][column]).expect("a pivot is not zero");
            for element in &mut matrix[column] {
                *element = multiply(*element, scale);
            }
            let pivot = matrix[column].clone();
            for (row, elements) in matrix.iter_mut().enumerate() {
                let factor = elements[column];
                if row != column {
                    add_scaled(elements, &pivot, factor);
                }
            }
        }
        matrix.into_iter().map(|row| row[size..].to_vec()).collect()
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::random::Random;

    use super::*;

    fn value(length: usize, seed: u64) -> Vec<u8> {
        let mut random = Random::keyed(seed, "value", "");
        (0..length).map(|_| random.next_u64() as u8).collect()
    }

    fn left<'s>(shards: &'s [Vec<u8>], pattern: u32) -> Vec<Shard<'s>> {
        let indexed = shards.iter().map(Vec::as_slice).enumerate();
        indexed
            .filter(|(index, _)| pattern >> index & 1 == 1)
            .collect()
    }

    #[test]
    fn a_value_comes_back_from_every_pattern_of_up_to_m_erasures_and_from_no_other() {
        for (k, m) in [(1, 2), (2, 1), (4, 2), (3, 3), (5, 4), (6, 0)] {
            let code = Code::new(k, m).unwrap();
            for length in [0, 1, 8, k * 16, k * 16 + 1] {
                let value = value(length, length as u64);
                let shards = code.encode(&value);
                assert_eq!(shards.len(), k + m);
                for pattern in 0..1_u32 << (k + m) {
                    let shards = left(&shards, pattern);
                    let decoded = code.decode(&shards, length);
                    let enough = shards.len() >= k;
                    let expected = if enough {
                        Ok(value.clone())
                    } else {
                        Err(TooFew {
                            left: shards.len(),
                            needed: k,
                        })
                    };
                    assert_eq!(decoded, expected, "{k}+{m}, {length} bytes, {pattern:b}");
                }
            }
        }
    }

    #[test]
    fn the_order_of_shards_does_not_matter_and_one_twice_counts_once() {
        let code = Code::new(4, 2).unwrap();
        let value = value(31, 5);
        let shards = code.encode(&value);
        let mut some = left(&shards, 0b110_110);
        some.reverse();
        assert_eq!(code.decode(&some, 31), Ok(value));
        let doubled = [some[0], some[0], some[1], some[2]];
        assert_eq!(
            code.decode(&doubled, 31),
            Err(TooFew { left: 3, needed: 4 })
        );
    }

    #[test]
    fn codes_are_refused_where_the_field_has_too_few_elements() {
        assert!(Code::new(0, 2).is_none());
        assert!(Code::new(200, 57).is_none());
        let code = Code::new(200, 56).unwrap();
        let value = value(1_000, 9);
        let shards = code.encode(&value);
        let last: Vec<Shard<'_>> = shards
            .iter()
            .map(Vec::as_slice)
            .enumerate()
            .skip(56)
            .collect();
        assert_eq!(code.decode(&last, 1_000), Ok(value));
    }
}
