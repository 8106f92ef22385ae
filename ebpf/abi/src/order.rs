//! Integers in network byte order, as they lie in packets and in map keys.

use core::fmt;
use core::net::Ipv4Addr;

macro_rules! big_endian {
    ($(#[$meta:meta])* $name:ident($int:ty)) => {
        $(#[$meta])*
        #[repr(transparent)]
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($int);

        impl $name {
            /// Zero.
            pub const ZERO: Self = Self(0);

            /// From a number in host byte order.
            #[inline(always)]
            pub const fn new(host: $int) -> Self {
                Self(host.to_be())
            }

            /// As a number in host byte order.
            #[inline(always)]
            pub const fn get(self) -> $int {
                <$int>::from_be(self.0)
            }

            /// From the integer that a load of the packet's bytes gives on this machine.
            #[inline(always)]
            pub const fn from_raw(raw: $int) -> Self {
                Self(raw)
            }

            /// The integer whose bytes in memory are the packet's.
            #[inline(always)]
            pub const fn raw(self) -> $int {
                self.0
            }

            /// The bytes in network order.
            #[inline(always)]
            pub const fn bytes(self) -> [u8; size_of::<$int>()] {
                self.0.to_ne_bytes()
            }
        }

        // SAFETY: transparent over an integer.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $name {}
    };
}

big_endian! {
    /// A port, length or other 16-bit field.
    Be16(u16)
}
big_endian! {
    /// An IPv4 address or other 32-bit field.
    Be32(u32)
}

impl From<Ipv4Addr> for Be32 {
    fn from(address: Ipv4Addr) -> Self {
        Self::new(address.to_bits())
    }
}

impl From<Be32> for Ipv4Addr {
    fn from(address: Be32) -> Self {
        Self::from_bits(address.get())
    }
}

impl fmt::Debug for Be16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.get())
    }
}

impl fmt::Debug for Be32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Ipv4Addr::from(*self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_holds_network_order() {
        assert_eq!(Be16::new(0x1234).bytes(), [0x12, 0x34]);
        assert_eq!(Be32::from(Ipv4Addr::new(10, 0, 0, 1)).bytes(), [10, 0, 0, 1]);
        assert_eq!(Be16::from_raw(u16::from_ne_bytes([0x12, 0x34])).get(), 0x1234);
        assert_eq!(Ipv4Addr::from(Be32::new(0x0a00_0001)), Ipv4Addr::new(10, 0, 0, 1));
    }
}
