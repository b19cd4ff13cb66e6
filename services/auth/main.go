// Command auth manages the shop's users: registration, passwords and tokens.
package main

import "lavka/libs/service/program"

func main() { program.Main(service, run) }
