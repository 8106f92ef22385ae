//! One way to declare a type that lives in a map.

/// Declares a `repr(C)` struct, asserts its size and that it has no padding, and makes it plain old data for
/// aya. Every field type must itself be free of padding and valid for any bits.
macro_rules! shared {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident: $size:literal {
            $( $(#[$field_meta:meta])* pub $field:ident: $type:ty, )*
        }
    )*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
        }

        const _: () = {
            assert!(size_of::<$name>() == $size, "the size is part of the ABI");
            assert!(0 $( + size_of::<$type>() )* == $size, "no hidden padding");
        };

        // SAFETY: `repr(C)`, `Copy`, and the assertions above exclude padding; integers, arrays of them and
        // other types declared by this macro are valid for any bits.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $name {}
    )*};
}
