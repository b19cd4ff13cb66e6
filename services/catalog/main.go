// Command catalog manages the shop's products and purchases.
package main

import "lavka/libs/service/program"

func main() { program.Main(service, run) }
