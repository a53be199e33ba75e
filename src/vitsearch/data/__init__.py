"""Images for training and searching: data modules, their splits, and the embedded data set."""

from vitsearch.data.base import SearchDataModule
from vitsearch.data.fashion import FashionMini, FashionMNIST
from vitsearch.data.image_folder import ImageFolder
from vitsearch.data.masks.fashion_scenes import FashionScenes
from vitsearch.data.masks.mask_folder import MaskFolder
from vitsearch.data.masks.torchvision_sets import VOC, Cityscapes
from vitsearch.data.preprocessing import preprocessing_of
from vitsearch.data.samplers import ExactDistributedSampler

__all__ = [
    "VOC",
    "Cityscapes",
    "ExactDistributedSampler",
    "FashionMNIST",
    "FashionMini",
    "FashionScenes",
    "ImageFolder",
    "MaskFolder",
    "SearchDataModule",
    "preprocessing_of",
]
