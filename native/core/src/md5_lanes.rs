//! MD5 of several messages at once.
//!
//! Each step of MD5 waits for the one before, so that one message leaves most of a processor idle.
//! Here the same step is done for [`LANES`] messages side by side, which compilers turn into vector
//! instructions. The algorithm is that of RFC 1321.

use std::array::from_fn;

/// How many messages are digested side by side.
const LANES: usize = 8;
const BLOCK: usize = 64;

type Lanes = [u32; LANES];

const START: [u32; 4] = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];

/// By how much each step rotates, for its round and its place among four steps.
const SHIFTS: [[u32; 4]; 4] = [
    [7, 12, 17, 22],
    [5, 9, 14, 20],
    [4, 11, 16, 23],
    [6, 10, 15, 21],
];

/// `floor(2^32 * abs(sin(step + 1)))`
const SINES: [u32; 64] = [
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
];

/// Ends a message as MD5 wants it: a bit, zeros, and its length in bits.
pub(crate) fn pad(message: &mut Vec<u8>) {
    let bits = (message.len() as u64).wrapping_mul(8);
    message.push(0x80);
    message.resize((message.len() + 8).next_multiple_of(BLOCK) - 8, 0);
    message.extend(bits.to_le_bytes());
}

/// The digests of padded messages, in their order.
pub(crate) fn digests(messages: &[Vec<u8>]) -> Vec<[u8; 16]> {
    let mut digests = vec![[0; 16]; messages.len()];
    let mut state: [Lanes; 4] = START.map(|word| [word; LANES]);
    // The longest first: short ones fill what is left at the end.
    let mut order: Vec<usize> = (0..messages.len()).collect();
    order.sort_by_key(|&index| messages[index].len());
    let mut lanes: [Option<(usize, &[u8])>; LANES] =
        from_fn(|_| order.pop().map(|index| (index, &messages[index][..])));
    while lanes.iter().any(Option::is_some) {
        state = block(state, &words(&lanes));
        for (number, lane) in lanes.iter_mut().enumerate() {
            let Some((index, rest)) = lane else { continue };
            *rest = rest.get(BLOCK..).unwrap_or_default();
            if rest.is_empty() {
                digests[*index] = finished(&mut state, number);
                *lane = order.pop().map(|index| (index, &messages[index][..]));
            }
        }
    }
    digests
}

/// Takes the digest out of a lane and makes the lane ready for the next message.
fn finished(state: &mut [Lanes; 4], lane: usize) -> [u8; 16] {
    let mut digest = [0; 16];
    for ((bytes, word), start) in digest.chunks_exact_mut(4).zip(state).zip(START) {
        bytes.copy_from_slice(&word[lane].to_le_bytes());
        word[lane] = start;
    }
    digest
}

/// The next block of each lane, word by word; zeros where a lane has none.
fn words(lanes: &[Option<(usize, &[u8])>; LANES]) -> [Lanes; 16] {
    let mut words = [[0; LANES]; 16];
    for (number, lane) in lanes.iter().enumerate() {
        let Some((_, rest)) = lane else { continue };
        let (bytes, _) = rest.as_chunks::<4>();
        for (word, bytes) in words.iter_mut().zip(bytes) {
            word[number] = u32::from_le_bytes(*bytes);
        }
    }
    words
}

fn block(state: [Lanes; 4], words: &[Lanes; 16]) -> [Lanes; 4] {
    let mut now = state;
    for (step, word) in words.iter().enumerate() {
        now = advance(now, *word, step, 0, |b, c, d| d ^ (b & (c ^ d)));
    }
    for step in 16..32 {
        let word = words[(5 * step + 1) % 16];
        now = advance(now, word, step, 1, |b, c, d| c ^ (d & (b ^ c)));
    }
    for step in 32..48 {
        let word = words[(3 * step + 5) % 16];
        now = advance(now, word, step, 2, |b, c, d| b ^ c ^ d);
    }
    for step in 48..64 {
        let word = words[(7 * step) % 16];
        now = advance(now, word, step, 3, |b, c, d| c ^ (b | !d));
    }
    from_fn(|word| from_fn(|lane| state[word][lane].wrapping_add(now[word][lane])))
}

#[inline(always)]
fn advance(
    [a, b, c, d]: [Lanes; 4],
    word: Lanes,
    step: usize,
    round: usize,
    mix: impl Fn(u32, u32, u32) -> u32,
) -> [Lanes; 4] {
    let shift = SHIFTS[round][step % 4];
    let next = from_fn(|lane| {
        let mixed = mix(b[lane], c[lane], d[lane]);
        let sum = a[lane]
            .wrapping_add(mixed)
            .wrapping_add(SINES[step])
            .wrapping_add(word[lane]);
        b[lane].wrapping_add(sum.rotate_left(shift))
    });
    [d, next, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;
    use md5::{Digest, Md5};
    use proptest::prelude::*;

    fn agree(messages: Vec<Vec<u8>>) {
        let expected: Vec<[u8; 16]> = messages.iter().map(|m| Md5::digest(m).into()).collect();
        let mut padded = messages;
        padded.iter_mut().for_each(pad);
        assert_eq!(digests(&padded), expected);
    }

    #[test]
    fn all_lengths_around_a_block_agree_with_md5() {
        agree(
            (0..200_u8)
                .map(|length| vec![length; length.into()])
                .collect(),
        );
        agree(Vec::new());
    }

    proptest! {
        #[test]
        fn messages_of_any_length_agree_with_md5(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..20)
        ) {
            agree(messages);
        }
    }
}
