package config

import (
	_ "embed"
	"slices"
)

//go:embed example.yaml
var example []byte

// Example is a commented configuration with every key and its default.
func Example() []byte { return slices.Clone(example) }
