package folderlock

// TakeOver makes the lock in the place of one that was seen to be left over.
var TakeOver = takeOver
