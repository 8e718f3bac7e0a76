package atomicfile

// syncFolder does nothing: Windows has no call that syncs a folder, and NTFS
// journals its entries in order.
func syncFolder(string) error { return nil }
