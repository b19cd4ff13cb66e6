// Command billing keeps bills and their ledger: it credits payments, decides on
// purchases, and accounts for every cent.
package main

import "lavka/libs/service/program"

func main() { program.Main(service, run) }
