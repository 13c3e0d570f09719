// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"path"
	"strings"
)

//go:generate ../../scripts/uplot.sh

//go:embed assets
var assetFiles embed.FS

//go:embed templates
var templateFiles embed.FS

const assetPath = "/ui/assets/"

// asset is a file that pages load, under a name that changes with its content.
type asset struct {
	name string // in the tree
	url  string
	mime string
	body []byte
}

// mimeTypes are those of the files that are served; others are not.
var mimeTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// assets by their name, and by the path that they are served at.
var assets, assetsByURL = loadAssets()

func loadAssets() (byName, byURL map[string]*asset) {
	byName, byURL = make(map[string]*asset), make(map[string]*asset)
	err := fs.WalkDir(assetFiles, "assets", func(file string, d fs.DirEntry, err error) error {
		mime := mimeTypes[path.Ext(file)]
		if err != nil || d.IsDir() || mime == "" {
			return err
		}
		body, err := assetFiles.ReadFile(file)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		a := &asset{name: strings.TrimPrefix(file, "assets/"), mime: mime, body: body}
		ext := path.Ext(file)
		a.url = assetPath + strings.TrimSuffix(path.Base(file), ext) + "." + hex.EncodeToString(sum[:8]) + ext
		byName[a.name], byURL[a.url] = a, a
		return nil
	})
	if err != nil {
		panic(err) // the files are part of the binary
	}
	return byName, byURL
}

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"asset": func(name string) (string, error) {
		a := assets[name]
		if a == nil {
			return "", fmt.Errorf("no asset %q", name)
		}
		return a.url, nil
	},
}).ParseFS(templateFiles, "templates/*.html"))
