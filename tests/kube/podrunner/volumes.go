// Environment and volumes of a container. Volumes are folders of the node; since there is no file system of the container's own,
// a path below a mount point is rewritten in command, args and environment to the folder that stands for it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"

	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"
)

var errMount = errors.New("FailedMount")

func expand(words []string, env map[string]string) []string {
	out := make([]string, len(words))
	for i, word := range words {
		out[i] = expansion.Expand(word, expansion.MappingFuncFor(env))
	}
	return out
}

func (c *container) secret(ctx context.Context, name string) (map[string][]byte, error) {
	found, err := c.pod.node.client.CoreV1().Secrets(c.pod.made.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return found.Data, nil
}

func (c *container) configMap(ctx context.Context, name string) (map[string][]byte, error) {
	found, err := c.pod.node.client.CoreV1().ConfigMaps(c.pod.made.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	data := map[string][]byte{}
	for key, value := range found.Data {
		data[key] = []byte(value)
	}
	for key, value := range found.BinaryData {
		data[key] = value
	}
	return data, nil
}

func optional(flag *bool, err error) bool { return flag != nil && *flag && apierrors.IsNotFound(err) }

// environment is the container's own and nothing of this machine's, but for PATH and the sanitizers' options.
func (c *container) environment(ctx context.Context) (map[string]string, error) {
	host := strings.TrimPrefix(c.pod.node.common.server, "https://")
	name, port, _ := strings.Cut(host, ":")
	env := map[string]string{"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": c.pod.dir, "HOSTNAME": c.pod.made.Name,
		"KUBERNETES_SERVICE_HOST": name, "KUBERNETES_SERVICE_PORT": port}
	for _, passed := range []string{"ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"} {
		if value, ok := os.LookupEnv(passed); ok {
			env[passed] = value
		}
	}
	for _, from := range c.spec.EnvFrom {
		var data map[string][]byte
		var err error
		var may *bool
		switch {
		case from.SecretRef != nil:
			data, err = c.secret(ctx, from.SecretRef.Name)
			may = from.SecretRef.Optional
		case from.ConfigMapRef != nil:
			data, err = c.configMap(ctx, from.ConfigMapRef.Name)
			may = from.ConfigMapRef.Optional
		}
		if err != nil && !optional(may, err) {
			return nil, err
		}
		for key, value := range data {
			env[from.Prefix+key] = string(value)
		}
	}
	for _, one := range c.spec.Env {
		value, there, err := c.variable(ctx, &one, env)
		if err != nil {
			return nil, err
		}
		if there {
			env[one.Name] = value
		}
	}
	return env, nil
}

func (c *container) variable(ctx context.Context, one *v1.EnvVar, env map[string]string) (string, bool, error) {
	from := one.ValueFrom
	switch {
	case from == nil:
		return expansion.Expand(one.Value, expansion.MappingFuncFor(env)), true, nil
	case from.FieldRef != nil:
		value, err := c.pod.field(from.FieldRef.FieldPath)
		return value, true, err
	case from.SecretKeyRef != nil:
		data, err := c.secret(ctx, from.SecretKeyRef.Name)
		return keyOf(data, err, "secret", from.SecretKeyRef.Name, from.SecretKeyRef.Key, from.SecretKeyRef.Optional)
	case from.ConfigMapKeyRef != nil:
		data, err := c.configMap(ctx, from.ConfigMapKeyRef.Name)
		return keyOf(data, err, "configmap", from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Key, from.ConfigMapKeyRef.Optional)
	}
	return "", false, fmt.Errorf("podrunner does not know where %s is to come from", one.Name)
}

func keyOf(data map[string][]byte, err error, kind, name, key string, may *bool) (string, bool, error) {
	if err != nil {
		if optional(may, err) {
			return "", false, nil
		}
		return "", false, err
	}
	value, ok := data[key]
	if !ok && (may == nil || !*may) {
		return "", false, fmt.Errorf("couldn't find key %s in %s %s", key, kind, name)
	}
	return string(value), ok, nil
}

// field answers the downward API.
func (p *pod) field(path string) (string, error) {
	object := p.newest()
	if key, ok := strings.CutPrefix(path, "metadata.labels['"); ok {
		return object.Labels[strings.TrimSuffix(key, "']")], nil
	}
	if key, ok := strings.CutPrefix(path, "metadata.annotations['"); ok {
		return object.Annotations[strings.TrimSuffix(key, "']")], nil
	}
	values := map[string]string{"metadata.name": object.Name, "metadata.namespace": object.Namespace, "metadata.uid": string(object.UID),
		"status.podIP": p.ip, "status.podIPs": p.ip, "status.hostIP": p.node.spec.IP, "spec.nodeName": p.node.spec.Name,
		"spec.serviceAccountName": object.Spec.ServiceAccountName}
	value, ok := values[path]
	if !ok {
		return "", fmt.Errorf("podrunner does not know the field %s", path)
	}
	return value, nil
}

// mounts: mount point -> folder, longest first.
type mounts [][2]string

func (m mounts) place(word string) string {
	for _, one := range m {
		for _, prefix := range []string{"", "="} {
			if before, after, ok := strings.Cut(word, prefix+one[0]); ok && (before == "" || prefix == "=") && (after == "" || after[0] == '/') {
				return before + prefix + one[1] + after
			}
		}
	}
	return word
}

// owner gives the rule's user what is mounted, as a pod's fsGroup would, and says whom the process is to run as.
func (r imageRule) owner(given mounts) (*syscall.Credential, error) {
	if r.User == "" {
		return nil, nil
	}
	found, err := user.Lookup(r.User)
	if err != nil {
		return nil, err
	}
	uid, uidErr := strconv.Atoi(found.Uid)
	gid, gidErr := strconv.Atoi(found.Gid)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, err
	}
	for _, one := range given {
		err := filepath.WalkDir(one[1], func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, uid, gid))
		})
		if err != nil {
			return nil, err
		}
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func (c *container) mounts(ctx context.Context) (mounts, error) {
	var found mounts
	for _, mount := range c.spec.VolumeMounts {
		for i := range c.pod.made.Spec.Volumes {
			if volume := &c.pod.made.Spec.Volumes[i]; volume.Name == mount.Name {
				where, err := c.volume(ctx, volume)
				if err != nil {
					return nil, fmt.Errorf("volume %q: %w", volume.Name, err)
				}
				found = append(found, [2]string{strings.TrimSuffix(mount.MountPath, "/"), filepath.Join(where, mount.SubPath)})
			}
		}
	}
	sort.Slice(found, func(i, j int) bool { return len(found[i][0]) > len(found[j][0]) })
	return found, nil
}

// volume makes the folder that stands for a volume and fills it.
func (c *container) volume(ctx context.Context, volume *v1.Volume) (string, error) {
	where := filepath.Join(c.pod.dir, "volumes", volume.Name)
	if volume.HostPath != nil {
		return volume.HostPath.Path, nil
	}
	if volume.PersistentVolumeClaim != nil {
		return c.claimed(ctx, volume.PersistentVolumeClaim.ClaimName)
	}
	if err := os.MkdirAll(where, 0o755); err != nil {
		return "", err
	}
	switch {
	case volume.EmptyDir != nil:
		return where, nil
	case volume.Secret != nil:
		data, err := c.secret(ctx, volume.Secret.SecretName)
		return where, fill(where, data, volume.Secret.Items, err, volume.Secret.Optional)
	case volume.ConfigMap != nil:
		data, err := c.configMap(ctx, volume.ConfigMap.Name)
		return where, fill(where, data, volume.ConfigMap.Items, err, volume.ConfigMap.Optional)
	case volume.Projected != nil:
		return where, c.projected(ctx, where, volume.Projected)
	}
	return "", errors.New("podrunner does not know this kind of volume")
}

func fill(where string, data map[string][]byte, items []v1.KeyToPath, err error, may *bool) error {
	if err != nil {
		if optional(may, err) {
			return nil
		}
		return err
	}
	if len(items) == 0 {
		for key := range data {
			items = append(items, v1.KeyToPath{Key: key, Path: key})
		}
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok {
			return fmt.Errorf("references non-existent key: %s", item.Key)
		}
		if err := writeVolumeFile(where, item.Path, value); err != nil {
			return err
		}
	}
	return nil
}

func writeVolumeFile(where, name string, content []byte) error {
	path := filepath.Join(where, filepath.Clean("/"+name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}

func (c *container) projected(ctx context.Context, where string, volume *v1.ProjectedVolumeSource) error {
	for _, source := range volume.Sources {
		var err error
		switch {
		case source.Secret != nil:
			data, found := c.secret(ctx, source.Secret.Name)
			err = fill(where, data, source.Secret.Items, found, source.Secret.Optional)
		case source.ConfigMap != nil:
			data, found := c.configMap(ctx, source.ConfigMap.Name)
			err = fill(where, data, source.ConfigMap.Items, found, source.ConfigMap.Optional)
		case source.DownwardAPI != nil:
			for _, item := range source.DownwardAPI.Items {
				if item.FieldRef != nil {
					value, found := c.pod.field(item.FieldRef.FieldPath)
					err = errors.Join(err, found, writeVolumeFile(where, item.Path, []byte(value)))
				}
			}
		case source.ServiceAccountToken != nil:
			err = c.token(ctx, where, source.ServiceAccountToken)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// token asks for one that is bound to the pod: it ends with it. It is not renewed here.
func (c *container) token(ctx context.Context, where string, wanted *v1.ServiceAccountTokenProjection) error {
	object := c.pod.made
	request := &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{ExpirationSeconds: wanted.ExpirationSeconds,
		BoundObjectRef: &authv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: object.Name, UID: object.UID}}}
	if wanted.Audience != "" {
		request.Spec.Audiences = []string{wanted.Audience}
	}
	answer, err := c.pod.node.client.CoreV1().ServiceAccounts(object.Namespace).CreateToken(ctx, object.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return writeVolumeFile(where, wanted.Path, []byte(answer.Status.Token))
}

// claimed follows a claim to its volume's folder.
func (c *container) claimed(ctx context.Context, name string) (string, error) {
	claim, err := c.pod.node.client.CoreV1().PersistentVolumeClaims(c.pod.made.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if claim.Status.Phase != v1.ClaimBound {
		return "", fmt.Errorf("claim %s is %s", name, claim.Status.Phase)
	}
	volume, err := c.pod.node.client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if volume.Spec.HostPath == nil {
		return "", fmt.Errorf("volume %s is no folder of podrunner's", volume.Name)
	}
	return volume.Spec.HostPath.Path, nil
}
