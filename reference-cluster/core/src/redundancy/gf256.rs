//! Arithmetic in the field of 256 elements, in which Reed–Solomon codes are computed.
//!
//! A byte is a polynomial over two elements; adding is exclusive or, multiplying is modulo
//! x⁸ + x⁴ + x³ + x² + 1 (0x11d), of which x generates all elements but zero. Products come from a
//! table of logarithms. Invariant: every element but zero has an inverse.
//!
//! Source: Plank 1997, section "Arithmetic over Galois fields".

const POLYNOMIAL: u16 = 0x11d;

/// Powers of x, twice over so that sums of logarithms need no reduction; and logarithms.
const TABLES: ([u8; 512], [u8; 256]) = tables();

const fn tables() -> ([u8; 512], [u8; 256]) {
    let (mut powers, mut logarithms) = ([0_u8; 512], [0_u8; 256]);
    let mut element = 1_u16;
    let mut power = 0;
    while power < 255 {
        powers[power] = element as u8;
        powers[power + 255] = element as u8;
        logarithms[element as usize] = power as u8;
        element <<= 1;
        if element > 255 {
            element ^= POLYNOMIAL;
        }
        power += 1;
    }
    (powers, logarithms)
}

/// All products: a row for each factor, so that scaling a slice is one look-up a byte.
static PRODUCTS: [[u8; 256]; 256] = products();

const fn products() -> [[u8; 256]; 256] {
    let mut products = [[0_u8; 256]; 256];
    let mut one = 1;
    while one < 256 {
        let mut other = 1;
        while other < 256 {
            let sum = TABLES.1[one] as usize + TABLES.1[other] as usize;
            products[one][other] = TABLES.0[sum];
            other += 1;
        }
        one += 1;
    }
    products
}

/// The product.
pub fn multiply(one: u8, other: u8) -> u8 {
    PRODUCTS[usize::from(one)][usize::from(other)]
}

/// The element whose product with this one is 1; `None` for zero.
pub fn inverse(element: u8) -> Option<u8> {
    (element != 0).then(|| TABLES.0[255 - usize::from(TABLES.1[usize::from(element)])])
}

/// Adds `factor` times `source` to `sum`, byte by byte, as far as both go.
pub fn add_scaled(sum: &mut [u8], source: &[u8], factor: u8) {
    let products = &PRODUCTS[usize::from(factor)];
    for (sum, byte) in sum.iter_mut().zip(source) {
        *sum ^= products[usize::from(*byte)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Schoolbook: shift, add, reduce.
    fn slow(one: u8, other: u8) -> u8 {
        let mut product = 0_u16;
        for bit in 0..8 {
            if other >> bit & 1 == 1 {
                product ^= u16::from(one) << bit;
            }
        }
        for bit in (8..16).rev() {
            if product >> bit & 1 == 1 {
                product ^= POLYNOMIAL << (bit - 8);
            }
        }
        product as u8
    }

    #[test]
    fn every_product_is_that_of_the_schoolbook() {
        for one in 0..=255 {
            for other in 0..=255 {
                assert_eq!(multiply(one, other), slow(one, other), "{one} · {other}");
            }
        }
    }

    #[test]
    fn every_element_but_zero_has_an_inverse() {
        assert_eq!(inverse(0), None);
        for element in 1..=255 {
            let inverse = inverse(element).unwrap();
            assert_eq!(slow(element, inverse), 1, "{element}");
        }
    }

    #[test]
    fn scaling_a_slice_is_scaling_its_bytes() {
        let source: Vec<u8> = (0..=255).collect();
        for factor in [0, 1, 2, 77, 255] {
            let mut sum: Vec<u8> = source.iter().rev().copied().collect();
            add_scaled(&mut sum, &source, factor);
            for (index, byte) in sum.iter().enumerate() {
                let expected = (255 - index) as u8 ^ slow(index as u8, factor);
                assert_eq!(*byte, expected);
            }
        }
    }
}
