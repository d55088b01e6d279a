package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/fcnode/fcnode/runtime/internal/strictyaml"
)

// Error is one complaint about a file: what is wrong, at which line and column, and what is allowed there.
type Error = strictyaml.Error

// Errors is everything that is wrong with a file.
type Errors = strictyaml.Errors

// maxFile is the size of the largest configuration that is read, in bytes.
const maxFile = 1 << 20

// Load reads a configuration file. With an empty path it reads DefaultPath, and gives the defaults if there is no such file; a file that
// is named must exist. What is wrong with the content is an error of type Errors, all of it at once.
func Load(path string) (Config, error) {
	named := path != ""
	if !named {
		path = DefaultPath
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return Default(), nil
	}
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	defer f.Close()
	return Parse(path, f)
}

// Parse reads a configuration; name is used in errors. What the file leaves out has its default.
func Parse(name string, r io.Reader) (Config, error) {
	src, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration %s: %w", name, err)
	}
	if len(src) > maxFile {
		return Config{}, Errors{{File: name, Msg: "is too large", Allowed: "up to 1MiB"}}
	}
	docs, errs := strictyaml.Parse(name, src)
	if len(docs) > 1 {
		at := docs[1].Start()
		errs = append(errs, &Error{
			File: name, Line: at.Line, Column: at.Column,
			Msg: "is a second document", Allowed: "one document",
		})
	}
	c := base()
	check := c.Validate
	if len(docs) > 0 {
		docs[0].Decode(&c)
		c.Max.locate(docs[0])
		check = func() error {
			checker{report: docs[0].Reject}.config(&c)
			return nil
		}
	}
	c.derive()
	if err := check(); err != nil {
		return Config{}, err
	}
	if len(docs) > 0 {
		errs = append(errs, docs[0].Errs()...)
	}
	if len(errs) > 0 {
		errs.Sort()
		return Config{}, errs
	}
	return c, nil
}
