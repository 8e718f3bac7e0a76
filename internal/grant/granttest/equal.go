package granttest

import (
	"fmt"
	"reflect"
	"time"

	"evergrant/internal/grant"
)

// Diff returns the path of the first field in which two records differ, "" if
// there is none. Secrets are compared by what they hold and times by the
// moment, and an empty list is the same as none.
func Diff(a, b grant.Credential) string {
	return differs(reflect.ValueOf(a), reflect.ValueOf(b), "record")
}

func differs(a, b reflect.Value, path string) string {
	switch x := a.Interface().(type) {
	case grant.Secret:
		return where(path, x.Equal(b.Interface().(grant.Secret)))
	case time.Time:
		return where(path, x.Equal(b.Interface().(time.Time)))
	}
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return where(path, a.IsNil() == b.IsNil())
		}
		return differs(a.Elem(), b.Elem(), path)
	case reflect.Struct:
		for i := range a.NumField() {
			if d := differs(a.Field(i), b.Field(i), path+"."+a.Type().Field(i).Name); d != "" {
				return d
			}
		}
		return ""
	case reflect.Slice:
		if a.Len() != b.Len() {
			return path
		}
		for i := range a.Len() {
			if d := differs(a.Index(i), b.Index(i), fmt.Sprintf("%s[%d]", path, i)); d != "" {
				return d
			}
		}
		return ""
	case reflect.Map:
		return where(path, a.Len() == b.Len() && (a.Len() == 0 || reflect.DeepEqual(a.Interface(), b.Interface())))
	}
	return where(path, a.Equal(b))
}

func where(path string, equal bool) string {
	if equal {
		return ""
	}
	return path
}
