package file

// For tests of what cannot be brought about on every machine.
var (
	CheckFile   = checkFile
	NetworkName = networkName
	Refuse      = refuseNetwork
)
