// Command nothing is a small static program.
package main

func main() {}
