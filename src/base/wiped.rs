//! The bytes of a secret that many hold at once: one piece of memory, wiped when the last lets go.
//!
//! Memory knows a token for each of very many connections, so the count of its holders lies in front of
//! the text and not in a piece of its own, and pieces come in lengths that glibc's allocator fills.

use bytes::Bytes;
use zeroize::{Zeroize, Zeroizing};

/// Up to `N` bytes.
struct Piece<const N: usize> {
    len: u16,
    bytes: [u8; N],
}

/// The bytes of `parts`, one after the other.
pub(super) fn joined(parts: [&[u8]; 2]) -> Bytes {
    let len = parts.iter().map(|part| part.len()).sum();
    // With count and length before them, and the allocator's own eight bytes, multiples of 32.
    macro_rules! in_pieces_of {
        ($($size:literal)+) => {
            match len {
                $(0..=$size => Bytes::from_owner(Piece::<$size>::of(parts, len)),)+
                _ => Bytes::from_owner(Zeroizing::new(parts.concat())),
            }
        };
    }
    in_pieces_of!(46 78 110 142 174 206 238 270 302 334 366 398 430 462 494 526)
}

// === impl Piece ===

impl<const N: usize> Piece<N> {
    fn of(parts: [&[u8]; 2], len: usize) -> Self {
        let mut bytes = [0; N];
        let all = parts.into_iter().flatten();
        for (place, byte) in bytes.iter_mut().zip(all) {
            *place = *byte;
        }
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        Self { len, bytes }
    }
}

impl<const N: usize> AsRef<[u8]> for Piece<N> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len.into()).unwrap_or(&self.bytes)
    }
}

impl<const N: usize> Drop for Piece<N> {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_length_are_the_same_in_one_piece() {
        let all: Vec<u8> = (0..=255).cycle().take(600).collect();
        for len in 0..all.len() {
            let (left, right) = all[..len].split_at(len / 3);
            let joined = joined([left, right]);
            assert_eq!(joined, all[..len], "{len}");
            assert_eq!(joined.clone(), joined);
        }
    }

    #[test]
    fn a_piece_and_the_count_before_it_fill_what_the_allocator_hands_out() {
        for size in [
            size_of::<Piece<46>>(),
            size_of::<Piece<142>>(),
            size_of::<Piece<526>>(),
        ] {
            let handed_out = size_of::<usize>() + size + 8;
            assert_eq!(handed_out % 32, 0, "{size}");
        }
    }
}
