package master

// ParseLogins is for tests of the lists' formats.
var ParseLogins = parseLogins
