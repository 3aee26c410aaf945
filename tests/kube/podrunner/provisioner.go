// Volumes for claims: a folder each, for the two storage classes of the test cluster. Stands for a storage driver.
package main

import (
	"context"
	"log"
	"os"
	"path/filepath"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	provisionerName = "podrunner.test/folder"
	selectedNode    = "volume.kubernetes.io/selected-node"
	provisionedBy   = "pv.kubernetes.io/provisioned-by"
	provisionEvery  = 500 * time.Millisecond
)

type provisioner struct {
	common *settings
	client kubernetes.Interface
}

func newProvisioner(common *settings) (*provisioner, error) {
	client, _, err := clientFor(common, identity{name: "podrunner-provisioner", groups: []string{"system:masters"}})
	return &provisioner{common, client}, err
}

// run looks at all claims and volumes twice a second, from the API server's cache: there are few.
func (v *provisioner) run(ctx context.Context) {
	for sleep(ctx, provisionEvery) {
		if err := v.pass(ctx); err != nil && ctx.Err() == nil {
			log.Printf("volumes: %v", err)
			sleep(ctx, time.Second)
		}
	}
}

func (v *provisioner) pass(ctx context.Context) error {
	cached := metav1.ListOptions{ResourceVersion: "0"}
	claims, err := v.client.CoreV1().PersistentVolumeClaims("").List(ctx, cached)
	if err != nil {
		return err
	}
	for i := range claims.Items {
		claim := &claims.Items[i]
		if claim.Status.Phase != v1.ClaimPending || claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil || claim.Spec.StorageClassName == nil {
			continue
		}
		class, err := v.client.StorageV1().StorageClasses().Get(ctx, *claim.Spec.StorageClassName, metav1.GetOptions{ResourceVersion: "0"})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		node, late := claim.Annotations[selectedNode], class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
		if class.Provisioner != provisionerName || (late && node == "") {
			continue
		}
		if err := v.provision(ctx, claim, class, node); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	volumes, err := v.client.CoreV1().PersistentVolumes().List(ctx, cached)
	if err != nil {
		return err
	}
	for i := range volumes.Items {
		volume := &volumes.Items[i]
		if volume.Annotations[provisionedBy] != provisionerName || volume.Status.Phase != v1.VolumeReleased ||
			volume.Spec.PersistentVolumeReclaimPolicy != v1.PersistentVolumeReclaimDelete || volume.DeletionTimestamp != nil {
			continue
		}
		if err := os.RemoveAll(volume.Spec.HostPath.Path); err != nil {
			return err
		}
		if err := v.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func (v *provisioner) provision(ctx context.Context, claim *v1.PersistentVolumeClaim, class *storagev1.StorageClass, node string) error {
	name := "pvc-" + string(claim.UID)
	where := filepath.Join(v.common.state, "volumes", name)
	if err := os.MkdirAll(where, 0o777); err != nil {
		return err
	}
	// whoever a container runs as: a kubelet gives no such volume to a pod's fsGroup
	if err := os.Chmod(where, 0o777); err != nil {
		return err
	}
	policy := v1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	volume := &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: provisionerName}},
		Spec: v1.PersistentVolumeSpec{
			Capacity:    v1.ResourceList{v1.ResourceStorage: claim.Spec.Resources.Requests[v1.ResourceStorage]},
			AccessModes: claim.Spec.AccessModes, PersistentVolumeReclaimPolicy: policy, StorageClassName: class.Name,
			PersistentVolumeSource: v1.PersistentVolumeSource{HostPath: &v1.HostPathVolumeSource{Path: where}},
			ClaimRef: &v1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
				ResourceVersion: claim.ResourceVersion},
		}}
	if node != "" {
		volume.Spec.NodeAffinity = &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
			MatchExpressions: []v1.NodeSelectorRequirement{{Key: "kubernetes.io/hostname", Operator: v1.NodeSelectorOpIn, Values: []string{node}}}}}}}
	}
	_, err := v.client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	return err
}
