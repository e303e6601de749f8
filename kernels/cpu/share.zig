//! How threads divide a work.

/// Share `index` of `count` of a work.
pub const Share = extern struct {
    index: usize,
    count: usize,

    /// First and end of this share of n units.
    pub fn of(share: Share, n: usize) [2]usize {
        return .{ n * share.index / share.count, n * (share.index + 1) / share.count };
    }
};
