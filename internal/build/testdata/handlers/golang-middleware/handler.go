package function

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

func Handle(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/fields":
		body, _ := io.ReadAll(r.Body)
		hostname, _ := os.Hostname()
		json.NewEncoder(w).Encode(map[string]any{
			"method": r.Method, "path": r.URL.Path, "query": r.URL.Query().Get("colour"),
			"header": r.Header.Get("X-Thing"), "length": len(body), "hostname": hostname,
		})
	case "/status":
		w.Header().Set("X-One", "1")
		w.Header()["X-Many"] = []string{"a", "b"}
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "a teapot")
	case "/echo":
		io.Copy(w, r.Body)
	case "/fail":
		panic("the handler broke on purpose")
	case "/static":
		http.ServeFile(w, r, "static/page.txt")
	case "/slow":
		folder := r.URL.Query().Get("folder")
		os.WriteFile(filepath.Join(folder, "begun"), nil, 0o644)
		for {
			if _, err := os.Stat(filepath.Join(folder, "finish")); err == nil {
				io.WriteString(w, "finished")
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}
